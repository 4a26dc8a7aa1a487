"""What detectors say, in the reports of a strategy, in its quarantine, and in its checkpoint."""

import numpy as np
import pytest

from flwr_byzantine import Robust, legacy, rules
from flwr_byzantine.strategy.in_process import InProcess
from flwr_byzantine.strategy.quarantine import Quarantine
from flwr_byzantine.strategy.report import NodeReport, RoundReport, Suspicion
from tests.support.detectors import Loud

MODEL = {"w": np.ones((2, 2), np.float32), "b": np.zeros(3, np.float32)}
HIGH = 2**63 + 5  # node ids of Flower take 64 bits


def moved(model, length):
    return {name: value + np.float32(length) for name, value in model.items()}


def rounds(strategy, *lengths, server=None):
    """Rounds in which node k moves each value by so much."""
    server, model = server or InProcess(strategy), MODEL
    with server.running(model):
        for number, row in enumerate(lengths, 1):
            model = server.round(number, model, {node: moved(model, length) for node, length in row.items()})
    return model


def test_a_report_says_who_was_left_out_by_whom_and_why():
    strategy = Robust(rules.chain(Loud(f=1), rules.Median(f=1)))
    model = rounds(strategy, {1: 1.0, 2: 1.0, 3: 1.0, HIGH: 9.0})
    (report,) = strategy.reports
    out = report.nodes[HIGH]
    assert (out.status, out.reason, out.weight) == ("rejected", "left out by Loud: score 23.81 > 5", 0.0)
    assert out.detections["Loud"] == Suspicion(out.score, 5.0, kept=False)
    assert report.nodes[1].detections["Loud"] == Suspicion(pytest.approx(np.sqrt(7)), 5.0, kept=True)
    assert (out.detected, report.nodes[1].detected, report.with_status("kept")) == (True, False, [1, 2, 3])
    assert RoundReport.from_json(report.to_json()) == report
    assert model["w"].tolist() == [[2.0, 2.0]] * 2


def test_reports_of_rules_without_detectors_are_as_they_were():
    assert "detections" not in RoundReport(1, 1, 1, 1, 0, "Mean()", True, True, nodes={7: NodeReport("kept")}).to_json()


def test_a_round_that_detectors_leave_too_few_in_is_skipped_and_says_who_they_were():
    strategy = Robust(rules.chain(Loud(f=1), rules.Median(f=1)))
    model = rounds(strategy, {1: 1.0, 2: 1.0, 3: 1.0}, {1: 9.0, 2: 1.0, 3: 0.5})
    report = strategy.reports[1]
    assert (report.aggregated, report.feasible) == (False, False)
    assert "Loud left out 2 of 3 updates: Median(f=1) needs at least 3 updates, got 1" in report.note
    assert [report.nodes[node].reason[:11] for node in (1, 2, 3)] == ["left out by"] * 2 + ["the round w"]
    assert model["w"].tolist() == [[2.0, 2.0]] * 2
    assert strategy.core.state.rule.round == 1


def test_a_quarantine_can_act_on_what_detectors_say():
    strategy = Robust(rules.chain(Loud(), rules.Mean()), quarantine=Quarantine(detected=1.0, threshold=1.5, decay=1.0))
    rounds(strategy, *[{1: 0.1, 2: 0.1, 3: 0.1, 9: 9.0}] * 3)
    assert [report.banned for report in strategy.reports] == [{}, {9: 22}, {}]
    assert not strategy.core.allows(9, 3)


def test_what_is_remembered_of_a_node_goes_with_its_id():
    strategy = Robust(rules.chain(Loud(), rules.Mean()))
    rounds(strategy, {1: 1.0, HIGH: 1.0}, {1: 0.1, HIGH: 1.0, 3: 1.0})
    assert [strategy.reports[1].nodes[node].detected for node in (1, HIGH, 3)] == [False, True, False]


def test_a_run_goes_on_with_what_its_detectors_remember(tmp_path):
    def made(**facts):
        return Robust(rules.chain(Loud(), rules.Mean()), checkpoint=tmp_path / "run", **facts)

    rounds(made(), {1: 1.0, 2: 0.1})
    following = made(resume=True)
    rounds(following, {1: 1.0, 2: 0.1})
    assert [following.reports[-1].nodes[node].detected for node in (1, 2)] == [True, False]


def test_the_legacy_api_takes_the_same_stages():
    assert str(legacy.Robust(rules.chain(Loud(f=1), rules.Median(f=1))).rule_at(5)) == "Loud(f=1) + Median(f=1)"
