"""A round of the core without Flower: which replies count, what f becomes, when it is skipped, and how long it may take."""

from logging import INFO, WARNING

import numpy as np
import pytest

from flwr_byzantine import InfeasibleRound, InvalidParameter, rules
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.strategy.report import NodeReport
from tests.support.core import MODEL, core, ended, payloads, replies


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


def test_an_evaluation_names_the_nodes_whose_replies_cannot_be_used():
    made, log = core(rules.Mean())
    made.evaluating = [1, 2, 3, 9]
    given = [Reply(3, metrics={"a": 1}), Reply(2, error="gone", status="failed"), Reply(1, error="no record")]
    assert [reply.node for reply in made.evaluated(4, given)] == [3]
    said = ["node 1 invalid: no record", "node 2 failed: gone", "node 9 missing: no reply"]
    assert log == [(WARNING, f"round 4, evaluation: {text}") for text in said]
    assert made.evaluating == []
