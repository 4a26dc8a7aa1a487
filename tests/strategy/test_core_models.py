"""What a round of the core makes of the replies: the next model, its certificate, the run's state, and what is saved."""

from logging import INFO, WARNING

import numpy as np
import pytest

from flwr_byzantine import InfeasibleRound, InvalidParameter, rules
from flwr_byzantine.experiments.audit.battery import npy
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.strategy.checkpoint import load
from flwr_byzantine.strategy.quarantine import Quarantine
from flwr_byzantine.strategy.report import RoundReport
from flwr_byzantine.strategy.steps import Descent
from flwr_byzantine.theory.certificate import certify
from tests.support.core import MODEL, core, ended, payloads, replies


def test_gradients_are_measured_from_zero_and_the_model_descends():
    made, _ = core(rules.CGE(f=1), Descent(0.5))
    found = ended(made, 1, replies(*[0.0] * 3, 50.0)).arrays
    np.testing.assert_allclose(found["w"], MODEL["w"] - 0.5 * MODEL["w"])
    second = core(rules.Mean(), Descent(lambda k: [1.0, 0.25][k]))[0].round(2, replies(0.0, 0.0)).arrays
    np.testing.assert_allclose(second["w"], 0.75 * MODEL["w"])


def test_models_are_measured_from_the_broadcast_one():
    """CGE keeps the smallest deltas, not the smallest models."""
    found = core(rules.CGE(f=1))[0].round(1, replies(0.5, 1.5, -30.0)).arrays
    np.testing.assert_allclose(found["w"], MODEL["w"] + 1.0)


def test_without_a_broadcast_the_majoritys_shape_is_the_models():
    made, _ = core(rules.Mean())
    made.end()
    odd = Reply(9, {"w": npy(np.zeros(3))}, {}, source=object())
    combined = ended(made, 1, [*replies(1.0, 3.0), odd])
    np.testing.assert_array_equal(combined.arrays["w"], MODEL["w"] + 2.0)
    assert made.reports[0].with_status("invalid") == [9]
    made.end()
    assert ended(made, 2, [*replies(1.0), odd]) is None


def test_a_certificate_is_that_of_the_replies_and_the_aggregates_length():
    rng, rule = np.random.default_rng(0), rules.TrimmedMean(f=1)
    shifts = [rng.normal(size=6) for _ in range(7)]
    answers = [
        Reply(k, {"w": npy(MODEL["w"] + s.reshape(2, 3)), "b": npy(MODEL["b"])}, {"gradient-noise": 0.5}, source=object())
        for k, s in enumerate(shifts)
    ]
    made, _ = core(rule, certificate=True)
    ended(made, 1, answers)
    X = np.array(shifts)
    D = ((X[:, None] - X) ** 2).sum(-1)
    expected = certify(rule, D, float(np.linalg.norm(rule(X))), noise=0.5, squares=(X**2).sum(axis=1))
    found = made.reports[0].certificate
    assert (found.sin_alpha, found.margin) == (pytest.approx(expected.sin_alpha), pytest.approx(expected.margin))
    assert found.estimate.noise == pytest.approx(0.5)
    assert core(rule)[0].round(1, answers) is not None


def test_capped_weights_enter_the_aggregate_and_the_report():
    answers = replies(0.0, 1.0, 2.0)
    for reply, said in zip(answers, (10, 20, 1000), strict=True):
        reply.examples = said
    made, _ = core(rules.MultiKrum(f=0, m=3), weighting="capped")
    found = ended(made, 1, answers).arrays
    np.testing.assert_allclose(found["w"], MODEL["w"] + (20 + 80) / 70)
    assert [entry.weight for entry in made.reports[0].nodes.values()] == pytest.approx([1 / 7, 2 / 7, 4 / 7])


def test_a_rule_that_trusts_the_server_needs_its_update_and_gets_it():
    with pytest.raises(InvalidParameter, match="trusts an update of the server's own"):
        core(rules.FLTrust())[0].round(1, replies(1.0, 2.0))
    seen = []

    def server_update(number, model):
        seen.append((number, model))
        return {name: value + np.asarray(1, value.dtype) for name, value in MODEL.items()}

    found = core(rules.FLTrust(), server_update=server_update)[0].round(4, replies(3.0, -2.0)).arrays
    np.testing.assert_allclose(found["w"], MODEL["w"] + 1.0)
    assert seen == [(4, "as the user sees it")]


def test_state_goes_from_round_to_round():
    made, _ = core(rules.CenteredClipping(tau=1.0))
    for number, expected in ((1, 1), (2, 2)):
        made.begin(payloads(), None)
        ended(made, number, replies(5.0))
        assert made.state.rule.round == expected
    assert np.linalg.norm(made.state.rule.arrays["previous"]) == pytest.approx(2.0)


def test_quarantine_reports_and_checkpoint_are_kept(tmp_path):
    policy = {"quarantine": Quarantine(threshold=2.0, decay=1.0, rounds=3), "checkpoint": tmp_path / "run", "report_path": tmp_path / "log"}
    made, log = core(rules.Mean(), **policy)
    for number in (1, 2):
        made.begin(payloads(), None)
        combined = made.round(number, [*replies(1.0), Reply(6, {"w": b""}, {}, source=object())])
        assert made.finish(combined, combined.arrays).keys() == MODEL.keys()
    assert (WARNING, "round 2: node 6 is in quarantine: its replies were bad too often") in log
    assert [made.allows(6, number) for number in (3, 5, 6)] == [False, False, True]
    assert made.allows(1, 3)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [RoundReport.from_json(line) for line in lines] == made.reports
    made.keeper.close()
    again, said = core(rules.Mean(), begun=False, resume=True, **policy)
    model = again.resume()
    assert (INFO, f"resumed after round 2 from {tmp_path / 'run'}") in said
    np.testing.assert_array_equal(model["w"], MODEL["w"] + 1.0)
    assert again.reports == made.reports
    assert (again.number(1), again.state.rule.round) == (3, 2)
    assert [again.allows(6, number) for number in (1, 3, 4)] == [False, False, True]


def test_a_skipped_or_refused_round_saves_the_model_as_it_was(tmp_path):
    made, _ = core(rules.TrimmedMean(f=1), checkpoint=tmp_path / "run")
    assert ended(made, 1, replies(1.0)) is None
    saved = load(tmp_path / "run")
    assert (saved.server_round, saved.facts["skipped"]) == (1, 1)
    np.testing.assert_array_equal(saved.group("model")["w"], MODEL["w"])
    combined = made.round(2, replies(1.0, 1.0, 1.0))
    assert made.finish(combined, None) is None
    np.testing.assert_array_equal(load(tmp_path / "run").group("model")["w"], MODEL["w"])
    assert load(tmp_path / "run").facts["skipped"] == 2
    ended(made, 3, replies(1.0, 1.0, 1.0))
    assert load(tmp_path / "run").facts["skipped"] == 0


def test_a_round_of_which_the_strategy_below_makes_no_model_is_skipped_and_says_so():
    made, log = core(rules.TrimmedMean(f=1), max_skipped_rounds=2)
    for number in (1, 2):
        combined = made.round(number, [*replies(1.0, 2.0, 3.0), Reply(4, error="gone", status="failed", source=object())])
        assert len(made.reports) == number - 1, "it is reported once it is known whether there is a model"
        if number == 1:
            assert made.finish(combined, None, "Bulyan") is None
    with pytest.raises(InfeasibleRound, match="round 2: skipped 2 rounds in a row; the last because Bulyan made no model of the aggregate"):
        made.finish(combined, None, "Bulyan")
    for report in made.reports:
        assert (report.aggregated, report.feasible, report.n_valid) == (False, True, 3)
        assert [entry.status for entry in report.nodes.values()] == ["rejected"] * 3 + ["failed"]
    assert (WARNING, "round 1: Bulyan made no model of the aggregate; the model stays as it was") in log


def test_a_round_that_the_strategy_below_cannot_take_is_reported():
    made, _ = core(rules.TrimmedMean(f=1))
    made.abandon(made.round(1, replies(1.0, 2.0, 3.0)), "Odd raised KeyError on the aggregate")
    (report,) = made.reports
    assert (report.aggregated, report.note) == (False, "Odd raised KeyError on the aggregate; the model stays as it was")


def test_the_strategys_model_is_brought_into_the_broadcast_ones_form():
    made, _ = core(rules.Mean())
    combined = ended(made, 1, replies(1.0))
    found = made.finish(combined, {"b": np.array([[0.1, 0.2]]), "w": np.arange(6)})
    assert list(found) == ["w", "b"]
    assert (found["w"].shape, found["w"].dtype, found["b"].shape, found["b"].dtype) == ((2, 3), np.float64, (2,), np.float32)
