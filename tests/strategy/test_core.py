"""A round of the core without Flower: what is inspected, decided, aggregated, reported and saved."""

from logging import INFO, WARNING
from types import SimpleNamespace

import numpy as np
import pytest

from flwr_byzantine import InfeasibleRound, InvalidParameter, rules
from flwr_byzantine.experiments.audit.battery import npy
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.strategy.checkpoint import load
from flwr_byzantine.strategy.core import Core
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.quarantine import Quarantine
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from flwr_byzantine.strategy.steps import Descent, Replace
from flwr_byzantine.theory.certificate import certify

MODEL = {"w": np.arange(6.0).reshape(2, 3), "b": np.ones(2, np.float32)}


def payloads(shift=0.0):
    return {name: npy(value + np.asarray(shift, value.dtype)) for name, value in MODEL.items()}


def replies(*shifts, **facts):
    return [Reply(node, payloads(shift), {}, 10, source=object(), **facts) for node, shift in enumerate(shifts, 1)]


def core(rule, step=None, asked=None, begun=True, **policy):
    """A core that has begun a round, and what it logged."""
    log = []
    rule_for = rule if callable(rule) and not isinstance(rule, rules.Rule) else lambda n: rule
    made = Core(Policy(**policy), rule_for, step or Replace(), lambda *line: log.append(line), SimpleNamespace)
    if begun:
        made.begin(payloads(), "as the user sees it")
    made.asked = asked or []
    return made, log


def ended(made, number, answers):
    """A round whose aggregate becomes the model as it is; what came of it, or None where it was skipped."""
    combined = made.round(number, answers)
    if combined is not None:
        made.finish(combined, combined.arrays)
    return combined


def test_a_round_aggregates_reports_and_logs():
    made, log = core(rules.TrimmedMean(f=1), asked=[1, 2, 3, 4, 5, 9])
    answers = [*replies(0.0, 1.0, 2.0, 90.0), Reply(5, error="out of memory", status="failed", source=object())]
    combined = ended(made, 3, answers[::-1])
    assert combined.server_round == 3
    np.testing.assert_array_equal(combined.arrays["w"], MODEL["w"] + 1.5)
    assert combined.arrays["b"].dtype == np.float32
    assert [reply.node for reply in combined.replies] == [1, 2, 3, 4]
    (report,) = made.reports
    assert (report.server_round, report.n_sampled, report.n_replied, report.n_valid) == (3, 6, 5, 4)
    assert (report.f, report.rule, report.feasible, report.aggregated, report.note) == (1, "TrimmedMean(f=1)", True, True, "")
    assert {node: entry.status for node, entry in report.nodes.items()} == {
        1: "rejected", 2: "kept", 3: "kept", 4: "rejected", 5: "failed", 9: "missing",
    }  # fmt: skip
    assert report.nodes[5].reason == "out of memory"
    assert list(report.nodes) == [1, 2, 3, 4, 5, 9]
    assert log[0] == (INFO, "round 3: TrimmedMean(f=1) kept 2 of 6 nodes")
    assert log[1:] == [(WARNING, "round 3: node 5 failed: out of memory"), (WARNING, "round 3: node 9 missing: no reply")]


def test_what_nobody_asked_for_does_not_count():
    made, _ = core(rules.Mean(), asked=[1, 2])
    combined = ended(made, 1, [*replies(1.0, 3.0, 500.0), Reply(2, payloads(700.0), {}, source=object())])
    np.testing.assert_array_equal(combined.arrays["w"], MODEL["w"] + 2.0)
    assert made.reports[0].nodes[3] == NodeReport("invalid", "a reply that nobody asked this node for")
    assert made.reports[0].nodes[2].status == "kept"
    anybody, _ = core(rules.Mean())
    assert len(anybody.round(1, replies(1.0, 3.0, 500.0)).replies) == 3


def test_a_reply_is_inspected_once():
    made, _ = core(rules.Mean())
    (reply,) = replies(1.0)
    assert made.arrived(reply)
    reply.payloads = None
    assert made.arrived(reply)
    assert ended(made, 1, [reply]) is not None
    bad = Reply(2, {"w": b"garbage", "b": b""}, source=object())
    assert not made.arrived(bad)
    made.end()
    assert not made.arrived(replies(1.0)[0])


@pytest.mark.parametrize(
    ("f", "valid", "invalid", "expected"),
    [(2, 5, 0, 2), (2, 4, 0, None), (2, 4, 1, 1), (2, 3, 1, 1), (2, 3, 2, 0), (2, 1, 2, 0), (2, 2, 3, None), (1, 0, 1, None), (0, 3, 1, 0)],
)
def test_f_falls_by_the_invalid_replies_where_too_few_are_left(f, valid, invalid, expected):
    made, _ = core(lambda n: rules.TrimmedMean(f=f))
    bad = [Reply(50 + k, {"w": b""}, {}, source=object()) for k in range(invalid)]
    combined = ended(made, 1, [*replies(*range(valid)), *bad])
    report = made.reports[0]
    assert (combined is None) is (expected is None)
    assert (report.feasible, report.aggregated) == (expected is not None,) * 2
    if expected is not None:
        assert report.f == expected
        lowered = f"f lowered from {f} to {expected}: rests on the {invalid} invalid replies being Byzantine ones"
        assert report.note == ("" if expected == f else lowered)
    else:
        assert report.note == f"TrimmedMean(f={f}) needs at least {2 * f + 1} valid replies, got {valid}; the model stays as it was"
        assert {entry.status for entry in report.nodes.values()} <= {"rejected", "invalid"}


def test_the_rule_is_chosen_by_valid_and_invalid_replies_together():
    seen = []
    made, _ = core(lambda n: seen.append(n) or rules.Mean())
    ended(made, 1, [*replies(1.0, 2.0), Reply(7, {"w": b""}, {}, source=object()), Reply(8, error="x", status="failed", source=object())])
    assert seen == [3]


def test_skipped_rounds_in_a_row_end_the_run():
    made, _ = core(rules.TrimmedMean(f=2), max_skipped_rounds=3)
    for number in (1, 2):
        assert ended(made, number, replies(1.0)) is None
    assert ended(made, 3, replies(*range(5))) is not None
    made.begin(payloads(), None)
    for number in (4, 5):
        assert ended(made, number, replies(1.0)) is None
    with pytest.raises(InfeasibleRound, match=r"^round 6: skipped 3 rounds in a row; the last because TrimmedMean"):
        ended(made, 6, replies(1.0))
    strict, _ = core(rules.TrimmedMean(f=2), on_infeasible="error")
    with pytest.raises(InfeasibleRound, match=r"^round 1: TrimmedMean\(f=2\) needs at least 5 valid replies, got 1; the model stays"):
        strict.round(1, replies(1.0))
    assert len(strict.reports) == 1


def test_without_any_reply_every_rule_says_that_it_needs_one():
    made, _ = core(rules.Mean())
    assert ended(made, 1, []) is None
    assert "needs at least 1 valid replies, got 0" in made.reports[0].note


@pytest.mark.parametrize(
    ("rule", "n", "enough", "needed"),
    [
        (rules.Krum(f=2), 11, 9, 9),
        (rules.Krum(f=2), 7, 5, 7),
        (rules.Krum(f=2), 3, 1, 3),
        (rules.Mean(), 11, 9, 9),
        (rules.Mean(), 4, 4, 4),
    ],
)
def test_the_quorum_is_n_less_f_and_in_training_what_the_rule_needs(rule, n, enough, needed):
    made, _ = core(rule)
    assert made.patience(n, True, 9.0).quorum == (enough, needed)
    assert made.patience(n, False, 9.0).quorum == (enough, enough)


def test_the_policy_says_how_long_an_exchange_may_take():
    made, _ = core(rules.Krum(f=2), reply_timeout=lambda number: {1: 5.0}.get(number), grace=2.0)
    assert (made.patience(11, True, 9.0).limit, made.patience(11, True, 9.0).grace) == (5.0, 2.0)
    assert made.patience(11, False, 9.0).limit == 9.0  # the evaluation of round 0
    assert core(rules.Krum(f=2), reply_timeout=20.0)[0].patience(11, True, 9.0).limit == 9.0
    assert core(rules.Krum(f=2), min_valid_replies=20)[0].patience(11, True, 9.0).quorum == (11, 0)
    unsure, _ = core(lambda n: rules.Krum(f=n - 5))
    assert unsure.patience(3, False, 9.0).quorum == (3, 0)


@pytest.mark.parametrize("odd", [0.0, -1, "60", (60,), float("nan"), float("-inf")])
def test_a_reply_timeout_by_round_gives_a_positive_number_or_none(odd):
    with pytest.raises(InvalidParameter, match=r"reply_timeout\(1\) must be a number > 0 or None, got "):
        core(rules.Krum(f=2), reply_timeout=lambda number: odd)[0].patience(11, True, 60.0)


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


def test_an_evaluation_names_the_nodes_whose_replies_cannot_be_used():
    made, log = core(rules.Mean())
    made.evaluating = [1, 2, 3, 9]
    given = [Reply(3, metrics={"a": 1}), Reply(2, error="gone", status="failed"), Reply(1, error="no record")]
    assert [reply.node for reply in made.evaluated(4, given)] == [3]
    said = ["node 1 invalid: no record", "node 2 failed: gone", "node 9 missing: no reply"]
    assert log == [(WARNING, f"round 4, evaluation: {text}") for text in said]
    assert made.evaluating == []
