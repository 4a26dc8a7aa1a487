"""What holds for all detectors: order, memory, hostile rows, conditions, what they need, and a few of their choices."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from flwr_byzantine import rules
from flwr_byzantine.errors import InvalidParameter, TooFewLeft
from flwr_byzantine.rules.detecting.movement import hessian_product
from flwr_byzantine.rules.results import State
from tests.support.detecting import LAYOUT, D, brought, federation, history

DETECTORS = [
    rules.FLDetector(window=3, remember=30),
    rules.FLANDERS(f=1, window=3, remember=30),
    rules.SafeGuard(short=2, long=4, remember=30),
    rules.MartingaleFilter(remember=30),
    rules.DeepSight(min_cluster=3),
    rules.Zeno(f=1),
    rules.ZenoPlusPlus(),
]
STATEFUL = [detector for detector in DETECTORS if detector.stateful]
every_detector = pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: type(detector).__name__)
every_stateful = pytest.mark.parametrize("detector", STATEFUL, ids=lambda detector: type(detector).__name__)


@pytest.mark.parametrize("detector", [rules.Zeno(f=2), rules.DeepSight(f=2, min_cluster=3)], ids=str)
def test_a_function_of_the_servers_that_raises_for_f_rows_costs_these_alone(detector):
    def said(u):
        if np.abs(u).max() > 100.0:
            raise OverflowError("math range error")
        return np.exp(u[:6]).reshape(3, 2) if isinstance(detector, rules.DeepSight) else float(((u - 1) ** 2).sum())

    rows = np.vstack([np.full((2, D), 1e3), 1.0 + 0.1 * np.random.default_rng(0).normal(size=(9, D))])
    rule, given = rules.chain(detector, rules.Mean()), {"loss": said, "predict": said, "layout": LAYOUT}
    assert np.abs(rule(rows, **given) - 1.0).max() < 0.5
    with pytest.raises(OverflowError):  # three: the function is at fault
        rule(np.vstack([rows, rows[:1]]), **given)


@every_detector
def test_neither_the_order_of_rows_nor_a_restart_changes_a_bit(detector):
    rule, rng = rules.chain(detector, rules.Mean()), np.random.default_rng(1)
    one = two = State()
    for nodes, rows in federation():
        rows[3] = rows[4]
        shuffle = rng.permutation(len(nodes))
        left, one = rule._run(rows, one, nodes, brought(detector))
        right, two = rule._run(rows[shuffle], pickle.loads(pickle.dumps(two)), nodes[shuffle], brought(detector))
        assert left.value.tobytes() == right.value.tobytes()
        assert left.detections[0].scores[shuffle].tobytes() == right.detections[0].scores.tobytes()
        assert set(one.arrays) == set(two.arrays)
        assert all(np.array_equal(one.arrays[name], two.arrays[name], equal_nan=True) for name in one.arrays)


@every_stateful
def test_memory_is_bounded_however_many_clients_pass(detector):
    detector = replace(detector, max_iter=1) if isinstance(detector, rules.FLANDERS) else detector
    rule, state, size = rules.chain(detector, rules.Mean()), State(), 0
    rng = np.random.default_rng(0)
    for t in range(100):
        rows, nodes = rng.normal(size=(100, 3)) + 1.0, np.arange(100 * t, 100 * t + 100)
        try:
            _, state = rule.step(rows, state, nodes=nodes)
        except TooFewLeft:
            continue
        size = max(size, sum(value.nbytes for value in state.arrays.values()))
        assert max(len(value) for name, value in state.arrays.items() if name.endswith("nodes")) <= detector.remember
    assert state.round > 50
    assert size <= 8 * detector.remember * 30


@every_detector
@pytest.mark.parametrize("case", ["1e300", "one of 1e300", "subnormal", "identical", "zero", "fewest", "one coordinate"])
def test_hostile_rows_raise_nothing_unclear(detector, case):
    n = detector.min_n() if case == "fewest" else 8
    d = 1 if case == "one coordinate" else D
    scale = {"1e300": 1e300, "subnormal": 1e-310, "zero": 0.0}.get(case, 1.0)
    rule, state = rules.chain(detector, rules.Mean()), State()
    for t in range(6):
        X = np.random.default_rng(t).normal(size=(n, d)) * scale
        X = np.ones((n, d)) if case == "identical" else X
        X[0] = 1e300 if case == "one of 1e300" else X[0]
        try:
            found, state = rule._run(X, state, None, brought(detector, d))
        except TooFewLeft:
            continue
        assert np.isfinite(found.value).all()
        assert not np.isnan(found.detections[0].scores).any()
    if case == "identical" and not isinstance(detector, rules.Zeno | rules.FLANDERS):
        assert found.detections[0].kept.all()


@every_detector
def test_its_condition_is_checked_and_no_kappa_is_claimed_without_proof(detector):
    rule = rules.chain(detector, rules.TrimmedMean(f=1))
    bounded = isinstance(detector, rules.Zeno | rules.FLANDERS)
    assert (rule.kappa(20) is not None) == bounded
    assert rule.min_n() == max(detector.min_n(), 4 if bounded else 3)


def test_where_few_can_be_left_out_the_kappa_holds():
    """Of 9 rows one is Byzantine; whichever is left out in place of it, the trimmed mean of the rest stays within the bound."""
    rule, rng, worst = rules.chain(rules.Zeno(f=1), rules.TrimmedMean(f=1)), np.random.default_rng(0), 0.0
    for _ in range(300):
        X = rng.normal(size=(9, 1)) ** 3
        X[0] *= 10
        target = rng.normal() * 3
        found = rule(X, loss=lambda u, target=target: float((u[0] - target) ** 2))[0]
        honest = X[1:]
        worst = max(worst, float((found - honest.mean()) ** 2 / honest.var()))
    assert 0 < worst <= rule.kappa(9)


def test_what_a_detector_needs_is_asked_for():
    X = np.ones((6, D))
    for detector, message in (
        (rules.Zeno(), "pass loss="),
        (rules.ZenoPlusPlus(), "pass it as trusted="),
        (rules.DeepSight(), "pass layout="),
    ):
        with pytest.raises(InvalidParameter, match=message):
            rules.chain(detector, rules.Mean())(X)


def test_safeguard_forgives_with_the_window_where_it_is_to():
    X = np.array([[1.0], [1.1], [0.9], [9.0]])
    good = np.array([[1.0], [1.1], [0.9], [1.0]])
    for reset, kept in ((False, False), (True, True)):
        rule = rules.chain(rules.SafeGuard(short=2, long=2, reset=reset), rules.Mean())
        state = rule.init(1)
        for rows in (X, good):
            _, state = rule.step(rows, state)
        assert rule._run(good, state, None, {})[0].detections[0].kept[3] == kept


def test_a_liar_found_by_fldetector_in_numbers():
    left_out = [
        found.detections[0].kept[:2].tolist() for found, _ in history(rules.FLDetector(window=3), federation(present=11, rounds=12))
    ]
    assert left_out[-1] == [False, False]
    assert left_out[0] == [True, True]


def test_a_step_that_is_nothing_beside_another_is_none():
    steps, changes = np.array([[1e200, 0.0], [0.0, 1.0]]), np.array([[2e200, 0.0], [0.0, 5.0]])
    assert hessian_product(steps, changes, np.ones(2)) == pytest.approx([2.0, 2.0])
