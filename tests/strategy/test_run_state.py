"""What a run carries from round to round, and through its checkpoint."""

import numpy as np
import pytest

from flwr_byzantine import InfeasibleRound
from flwr_byzantine.rules.results import State
from flwr_byzantine.strategy.quarantine import Quarantine
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from flwr_byzantine.strategy.run_state import RunState
from flwr_byzantine.strategy.steps import Descent

MODEL = {"w": np.arange(6.0).reshape(2, 3), "b": np.ones(2, np.float32)}


def test_a_run_state_that_never_aggregated_says_why():
    state = RunState()
    state.require_progress()
    nodes = {1: NodeReport("rejected", "the round was skipped"), 4: NodeReport("invalid", "no arrays"), 5: NodeReport("failed", "x")}
    report = RoundReport(1, 3, 2, 1, 1, "Krum(f=1)", False, False, "too few", nodes)
    state.reports.append(report)
    with pytest.raises(InfeasibleRound, match=r"^none of 1 rounds was aggregated; the last: too few; node 4 invalid: no arrays$"):
        state.require_progress()
    state.reports.append(RoundReport(2, 3, 3, 3, 1, "Krum(f=1)", True, True))
    state.require_progress()


def test_only_the_rounds_since_a_run_began_or_went_on_count_as_its_progress():
    state = RunState(skipped=1, offset=3)
    good, bad = (RoundReport(1, 3, 3, 3, 1, "Krum(f=1)", True, aggregated, "too few") for aggregated in (True, False))
    state.reports.append(good)
    state.begin()
    assert (state.skipped, state.offset) == (0, 0)
    state.require_progress()
    state.reports.append(bad)
    with pytest.raises(InfeasibleRound, match="none of 1 rounds was aggregated"):
        state.require_progress()
    again = RunState()
    again.restore(state.snapshot(2, MODEL, Descent(0.1)), "run", None, Descent(0.1), None)
    assert (again.reports, again.own) == ([good, bad], [])
    again.require_progress()
    again.reports += [bad, bad]
    with pytest.raises(InfeasibleRound, match="none of 2 rounds was aggregated"):
        again.require_progress()


def test_records_stay_when_the_conditions_of_quarantine_change():
    state = RunState()
    assert state.ledger_under(None) is None
    ledger = state.ledger_under(Quarantine())
    ledger.records[3], ledger.banned[4] = 1.5, 9
    assert state.ledger_under(Quarantine()) is ledger
    other = state.ledger_under(Quarantine(threshold=1.0))
    assert (other.records, other.banned, other.quarantine.threshold) == ({3: 1.5}, {4: 9}, 1.0)


def test_the_rule_s_state_the_step_s_velocity_and_the_ledger_go_through_a_snapshot():
    step, state = Descent(0.1, momentum=0.5), RunState(rule=State(3, {"previous": np.ones(2)}))
    step.velocity = [np.array([3.0, 4.0])]
    state.begin()
    state.skipped = 2
    state.ledger_under(Quarantine()).records[3] = 1.5
    found = state.snapshot(5, MODEL, step)
    again, other = RunState(), Descent(0.1, momentum=0.5)
    model = again.restore(found, "run", Quarantine(), other, lambda: MODEL)
    assert (again.run, again.offset, again.skipped, again.rule.round) == (state.run, 5, 2, 3)
    assert again.rule.arrays["previous"].tolist() == [1.0, 1.0]
    assert (list(model), again.ledger.records) == (list(MODEL), {3: 1.5})
    assert [block.tolist() for block in other.velocity] == [[3.0, 4.0]]
    plain = RunState()
    plain.restore(RunState().snapshot(1, MODEL, Descent(0.1)), "run", None, Descent(0.1), None)
    assert (plain.rule, plain.ledger) == (None, None)
