"""What a run carries from round to round, and through its checkpoint."""

import os
import stat
from dataclasses import dataclass

import numpy as np
import pytest

from flwr_byzantine import InfeasibleRound
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


def test_records_stay_when_the_conditions_of_quarantine_change():
    state = RunState()
    assert state.ledger_under(None) is None
    ledger = state.ledger_under(Quarantine())
    ledger.records[3], ledger.banned[4] = 1.5, 9
    assert state.ledger_under(Quarantine()) is ledger
    other = state.ledger_under(Quarantine(threshold=1.0))
    assert (other.records, other.banned, other.quarantine.threshold) == ({3: 1.5}, {4: 9}, 1.0)


@dataclass
class Optimiser:
    moments: list
    other: str = "kept"


def test_the_inner_strategys_arrays_and_the_steps_velocity_are_saved_with_the_run(tmp_path):
    step, inner = Descent(0.1, momentum=0.5), Optimiser([np.ones(2), np.zeros(3)])
    step.velocity = [np.array([3.0, 4.0])]
    RunState(skipped=2).save(tmp_path / "run", 5, MODEL, step, inner)
    state, other, fresh = RunState(), Descent(0.1, momentum=0.5), Optimiser([])
    model = state.resume(tmp_path / "run", Quarantine(), other, fresh)
    assert (state.offset, state.skipped, state.rule, state.ledger) == (5, 2, None, None)
    assert list(model) == list(MODEL)
    assert [block.tolist() for block in other.velocity] == [[3.0, 4.0]]
    assert [block.tolist() for block in fresh.moments] == [[1.0, 1.0], [0.0] * 3]
    assert fresh.other == "kept"
    assert RunState().resume(tmp_path / "none", None, other, fresh) is None


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a folder cannot be opened")
def test_a_checkpoint_and_its_folder_are_on_the_disk_before_the_run_goes_on(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(stat.S_ISDIR(os.fstat(handle).st_mode)) or fsync(handle))
    RunState().save(tmp_path / "run", 1, MODEL, Descent(0.1), Optimiser([]))
    assert synced == [False, True]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
