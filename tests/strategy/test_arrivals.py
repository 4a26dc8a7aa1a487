"""Arithmetic while replies are awaited: whatever the order of arrival, the model has the same bits, and the report says what was left."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from flwr_byzantine import rules
from flwr_byzantine.arrays import compiled, kernels
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.strategy.core import Core
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.steps import Replace
from tests.support.rules import RULES

N = 13
MODEL = {
    "w": np.linspace(-1, 1, 700, dtype=np.float32).reshape(70, 10),
    "b": np.ones(1100, np.float64),
}  # b is wider than a tile of products
needs_numba = pytest.mark.skipif(not compiled.AVAILABLE, reason="Numba is not installed")


def updates(seed=0):
    rng = np.random.default_rng(seed)
    made = {node: {name: (v + 0.1 * rng.normal(size=v.shape)).astype(v.dtype) for name, v in MODEL.items()} for node in range(1, N + 1)}
    made[3]["w"] = made[3]["w"] * 50
    return made


def core(rule, **policy):
    made = Core(Policy(**policy), lambda n: rule, Replace(), lambda *line: None, SimpleNamespace)
    made.begin(MODEL, MODEL)
    made.asked = list(range(1, N + 2))  # one never answers
    return made


def aggregate(rule, order, one_by_one=True, broken=False, **policy):
    """The model's values after a round in which replies came in this order, and the core."""
    made = core(rule, **policy)
    replies = [Reply(node, arrays, {}, 10, source=arrays) for node, arrays in updates().items()]
    if broken:
        replies.append(Reply(N + 1, {"w": np.full_like(MODEL["w"], np.nan), "b": MODEL["b"]}, {}, 10, source=object()))
    came = [replies[i] for i in order if i < len(replies)]
    if one_by_one:
        for reply in came:
            made.arrived(reply)
    combined = made.round(1, came)
    return np.concatenate([v.ravel() for v in combined.arrays.values()]), made


def wanted(rule):
    """Policies under which the rule can run."""
    if any("trusted" in stage.anchors for stage in rule.stages()):
        return {"server_update": lambda _round, model: MODEL | {"b": MODEL["b"] + 0.1}}
    return {"server_loss": lambda _round, arrays: float(np.abs(arrays["b"]).sum())}


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_order_of_arrival_changes_no_bit(rule):
    rng, policy = np.random.default_rng(1), wanted(rule)
    expected, _ = aggregate(rule, range(N), one_by_one=False, **policy)
    for _ in range(3):
        np.testing.assert_array_equal(aggregate(rule, rng.permutation(N), **policy)[0], expected)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("policy", [{}, {"scale": "per-array"}, {"spill": ""}], ids=["plain", "scaled", "spilled"])
def test_fifty_orders_of_arrival_change_no_bit(rule, policy, tmp_path):
    rng, policy = np.random.default_rng(2), {name: value or str(tmp_path) for name, value in policy.items()} | wanted(rule)
    expected, _ = aggregate(rule, range(N), one_by_one=False, **policy)
    for _ in range(50):
        np.testing.assert_array_equal(aggregate(rule, rng.permutation(N), **policy)[0], expected)


@needs_numba
@pytest.mark.parametrize("rule", [rules.Krum(f=2), rules.CGE(f=2), rules.CenteredClipping(f=2)], ids=str)
def test_an_unusable_reply_leaves_no_trace(rule):
    expected, _ = aggregate(rule, range(N), one_by_one=False)
    found, _ = aggregate(rule, [N, *range(N)], broken=True)
    np.testing.assert_array_equal(found, expected)


@needs_numba
@pytest.mark.parametrize(
    ("rule", "products", "distances"),
    [
        (rules.Krum(f=2), True, False),
        (rules.chain(rules.NNM(f=2), rules.Median()), True, False),
        (rules.chain(rules.ARC(f=2), rules.Krum(f=2)), True, False),
        (rules.MultiKrum(f=2), True, False),
        (rules.AutoGM(f=2), True, False),
        (rules.CGE(f=2), False, True),
        (rules.CenteredClipping(f=2), False, True),
        (rules.chain(rules.Clipping(), rules.Median()), False, True),
    ],
    ids=str,
)
def test_what_a_rule_asks_first_is_known_when_the_last_reply_but_one_was_there(rule, products, distances, monkeypatch):
    made = core(rule)
    made.asked = list(range(1, N + 1))
    replies = [Reply(node, arrays, {}, 10, source=arrays) for node, arrays in updates().items()]
    for reply in replies[:-1]:
        made.arrived(reply)
    ahead, end = made.inspector.ahead, time.monotonic() + 30
    while ahead._done < N - 1 and time.monotonic() < end:
        time.sleep(0.001)
    assert [len(ahead._grams[0]), len(ahead._squares[0])] == [(N - 1) * products, (N - 1) * distances]
    read, whole = [], kernels.distances
    monkeypatch.setattr(kernels, "distances", lambda left, *others: read.append(len(left)) or whole(left, *others))
    made.arrived(replies[-1])
    combined = made.round(1, replies)
    assert sum(read) == 2 * distances * (1 + len(rule.stages()[0].anchors))  # the last reply's, in both arrays, and the anchor's
    expected, _ = aggregate(rule, range(N), one_by_one=False)
    np.testing.assert_array_equal(np.concatenate([v.ravel() for v in combined.arrays.values()]), expected)


def test_centered_clipping_measures_to_its_last_aggregate_on_arrival():
    found = []
    for one_by_one in (True, False):
        made = core(rules.CenteredClipping(f=2))
        for number in (1, 2, 3):
            made.begin(MODEL, MODEL)
            made.asked = list(range(1, N + 1))
            replies = [Reply(node, arrays, {}, 10, source=arrays) for node, arrays in updates(number).items()]
            for reply in replies[: N * one_by_one]:
                made.arrived(reply)
            combined = made.round(number, replies)
            made.finish(combined, combined.arrays)
        found.append(np.concatenate([v.ravel() for v in combined.arrays.values()]))
    np.testing.assert_array_equal(*found)


@needs_numba
def test_for_rules_of_single_coordinates_nothing_is_worked_out_ahead():
    made = core(rules.Median())
    for node, arrays in updates().items():
        made.arrived(Reply(node, arrays, {}, 10, source=arrays))
    assert made.inspector.ahead is None


@needs_numba
def test_what_was_worked_out_ends_with_the_round():
    made = core(rules.Krum(f=2))
    for node, arrays in updates().items():
        made.arrived(Reply(node, arrays, {}, 10, source=arrays))
    assert made.inspector.ahead is not None
    made.end()
    assert made.inspector.ahead is None


def test_the_report_says_what_was_arithmetic():
    made = core(rules.Krum(f=2))
    replies = [Reply(node, arrays, {}, 10, source=arrays) for node, arrays in updates().items()]
    time.sleep(0.2)
    combined = made.round(1, replies)
    made.finish(combined, combined.arrays)
    (report,) = made.reports
    assert 0 <= report.arithmetic <= report.seconds - 0.2 + 1e-3
