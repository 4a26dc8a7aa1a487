"""What detectors say, in the reports of a strategy, in its quarantine, and in its checkpoint."""

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvgM

import flwr_byzantine as ours
from flwr_byzantine import ByzantineSGD, InvalidParameter, Robust, legacy, rules
from flwr_byzantine.strategy.in_process import InProcess
from flwr_byzantine.strategy.quarantine import Quarantine
from flwr_byzantine.strategy.report import NodeReport, RoundReport, Suspicion
from tests.support.detectors import Loud

MODEL = {"w": np.ones((2, 2), np.float32), "b": np.zeros(3, np.float32)}
HIGH = 2**63 + 5  # node ids of Flower take 64 bits


def moved(model, length):
    return {name: value + np.float32(length) for name, value in model.items()}


def rounds(strategy, *lengths, from_zero=False):
    """Rounds in which node k moves each value by so much, or answers with gradients of so much."""
    server, model = InProcess(strategy), MODEL
    with server.running(model):
        for number, row in enumerate(lengths, 1):
            start = {name: 0 * value for name, value in model.items()} if from_zero else model
            model = server.round(number, model, {node: moved(start, length) for node, length in row.items()})
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


def test_the_servers_loss_is_of_whole_models_by_name_in_both_directions():
    seen = []

    def loss(server_round, arrays):
        seen.append((server_round, {name: value.shape for name, value in arrays.items()}, arrays["w"].dtype))
        return float(((arrays["w"] - 3.0) ** 2).sum())

    strategy = Robust(rules.chain(rules.Zeno(f=1), rules.Mean()), server_loss=loss)
    rounds(strategy, {1: 1.0, 2: 1.1, 3: -1.0, 4: 0.9})
    assert [strategy.reports[0].nodes[node].detected for node in (1, 2, 3, 4)] == [False, False, True, False]
    assert seen[0] == (1, {"w": (2, 2), "b": (3,)}, np.float32)
    descent = ByzantineSGD(rules.chain(rules.Zeno(f=1, gamma=0.1), rules.Mean()), step_size=0.1, server_loss=loss)
    rounds(descent, {1: -1.0, 2: -5.1, 3: 9.0, 4: -4.9}, from_zero=True)
    assert [descent.reports[0].nodes[node].detected for node in (1, 2, 3, 4)] == [False, False, True, False]


def test_layers_and_predictions_reach_the_detector():
    asked = []

    def predict(server_round, arrays):
        asked.append(arrays["w"].shape)
        return np.abs(arrays["w"] @ np.arange(6.0).reshape(2, 3)).T + 1.0

    rng, model = np.random.default_rng(0), {"w": np.ones((2, 2), np.float32), "b": np.zeros(2, np.float32)}
    strategy = Robust(rules.chain(rules.DeepSight(min_cluster=3), rules.Mean()), server_predict=predict)
    server = InProcess(strategy)
    with server.running(model):
        replies = {node: {name: value + rng.random(value.shape).astype(np.float32) for name, value in model.items()} for node in range(8)}
        server.round(1, model, replies)
    assert asked == [(2, 2)] * 9
    assert all("DeepSight" in entry.detections for entry in strategy.reports[0].nodes.values())


@pytest.mark.parametrize("api", [ours, legacy])
def test_what_a_named_detector_needs_is_asked_for_at_once(api):
    with pytest.raises(InvalidParameter, match="pass server_loss="):
        api.Zeno(f=1)
    with pytest.raises(InvalidParameter, match="pass server_update="):
        api.ZenoPlusPlus(f=1)
    with pytest.raises(InvalidParameter, match="server_predict must be a function"):
        api.DeepSight(f=1, server_predict=3)
    assert str(api.FLDetector(f=0.2, then="nnm+krum", window=3).rule_at(10)) == "FLDetector(f=2, window=3) + NNM(f=2) + Krum(f=2)"


def test_fldetector_follows_the_models_own_way_where_it_is_known():
    """The model moves by what the strategy below makes of the aggregate; the way is the difference of the broadcast models."""
    strategy = Robust(rules.chain(rules.FLDetector(window=2), rules.Mean()), FedAvgM(server_learning_rate=0.5, server_momentum=0.9))
    rounds(strategy, *[{node: 1.0 + 0.1 * node for node in range(1, 5)}] * 3)
    steps = strategy.core.state.rule.arrays["FLDetector.steps"]
    assert steps[0] == pytest.approx(np.full(7, 0.5 * 1.25))
    assert steps[1] == pytest.approx(np.full(7, 0.5 * 1.25 * 1.9))


@pytest.mark.parametrize("detector", [rules.FLDetector(), rules.MartingaleFilter()], ids=str)
def test_an_aggregate_that_has_gone_to_the_edge_of_float32_ends_no_run(detector):
    strategy = Robust(rules.chain(detector, rules.Mean()))
    with np.errstate(over="ignore"):
        rounds(strategy, {1: 3e38}, {1: 0.0}, {1: 0.0})
    assert [report.aggregated for report in strategy.reports] == [True] * 3


@pytest.mark.parametrize("api", [ours, legacy])
def test_the_rule_after_a_detector_may_be_a_rule_or_its_name(api):
    for then in (rules.Median(), "median"):
        assert str(api.SafeGuard(f=2, then=then).rule_at(9)) == "SafeGuard(f=2) + Median(f=2)"
    with pytest.raises(InvalidParameter, match=r"expected a rule's name, such as 'nnm.trimmed-mean', got None"):
        api.SafeGuard(f=2, then=None)
