"""Detectors against plain loops, over rounds in which clients come and go; and what holds for all of them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from sklearn.cluster import HDBSCAN

from flwr_byzantine import rules
from flwr_byzantine.errors import InvalidParameter, TooFewLeft
from flwr_byzantine.rules.detecting.movement import hessian_product
from flwr_byzantine.rules.detecting.split import halves, two_or_one
from flwr_byzantine.rules.results import State
from tests.support import detector_references as references

D, LAYOUT = 12, {"w": (3, 3), "b": (3,)}
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


def brought(detector, d=D):
    given = {"trusted": np.linspace(0.5, 1.0, d)} if "trusted" in detector.anchors else {}
    if isinstance(detector, rules.Zeno):
        given["loss"] = lambda delta: float(((delta - 1.0) ** 2).sum())
    if isinstance(detector, rules.DeepSight):
        given |= {"layout": LAYOUT if d == D else {"w": (d, 1)}, "predict": predictions}
    return given


def predictions(delta):
    """Softmax outputs of a linear model moved by a delta, on seven inputs."""
    inputs = np.random.default_rng(3).normal(size=(7, 3))
    moved = np.resize(delta, D)
    logits = np.clip(inputs @ (0.1 * moved[:9].reshape(3, 3).T) + moved[9:], -50, 50)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def federation(rounds=9, clients=11, present=8, seed=0, liars=2):
    """Each round's rows and nodes: clients of one direction and noise of their own, who come and go; the first ones lie."""
    rng = np.random.default_rng(seed)
    own = 0.3 * rng.normal(size=(clients, D))
    for t in range(rounds):
        nodes = np.sort(rng.permutation(clients)[:present]) if t % 3 else np.arange(clients)
        rows = 1.0 / (1 + 0.1 * t) + own[nodes] + 0.1 * rng.normal(size=(len(nodes), D))
        rows[nodes < liars] *= -2.0 * rng.random(((nodes < liars).sum(), 1))
        yield nodes, rows


def history(detector, rounds):
    """Aggregate, detection and state after each round of a chain with the mean."""
    rule, state = rules.chain(detector, rules.Mean()), State()
    for nodes, rows in rounds:
        found, state = rule._run(rows, state, nodes, brought(detector, rows.shape[1]))
        yield found, state


def test_fldetector_is_the_papers():
    rounds, naive, aggregate = list(federation()), references.FLDetector(window=3), None
    left_out = 0
    for t, ((nodes, rows), (found, _)) in enumerate(zip(rounds, history(rules.FLDetector(window=3), rounds), strict=True)):
        expected = naive.scores(t, dict(zip(nodes.tolist(), rows, strict=True)), aggregate)
        np.testing.assert_allclose(found.detections[0].scores, list(expected.values()), rtol=1e-6)
        kept = found.detections[0].kept
        left_out += (~kept).sum()
        if found.detections[0].threshold is not None:
            assert np.array_equal(kept, found.detections[0].scores < found.detections[0].threshold)
        aggregate = rows[kept].mean(axis=0)
        np.testing.assert_allclose(found.value, aggregate)
    assert left_out


def test_two_means_is_the_best_of_all_cuts_and_the_gap_statistic_counts_clusters():
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.random(8)
        ordered = np.sort(scores)
        cost = [sum(((part - part.mean()) ** 2).sum() for part in (ordered[:k], ordered[k:])) for k in range(1, 8)]
        assert halves(scores)[0].sum() == np.argmin(cost) + 1
    one, two = rng.random(40), np.concatenate([rng.normal(0, 0.1, 30), rng.normal(9, 0.1, 10)])
    assert not two_or_one(one, 20, np.random.default_rng(0))
    assert two_or_one(two, 20, np.random.default_rng(0))
    assert not two_or_one(np.ones(5), 20, rng)
    assert not two_or_one(np.array([1.0, 2.0]), 20, rng)


def test_flanders_is_the_papers():
    detector, series, means, seen = rules.FLANDERS(f=2, window=3, max_iter=20), {}, [], 0
    rounds = list(federation())
    for t, ((nodes, rows), (found, _)) in enumerate(zip(rounds, history(detector, rounds), strict=True)):
        kept = np.ones(len(nodes), bool)
        if t >= 2:
            past = [np.array([series.get((s, node), means[s]) for node in nodes]).T for s in range(max(0, t - 3), t)]
            expected = references.flanders(past, rows.T, 20)
            np.testing.assert_allclose(found.detections[0].scores, expected, rtol=1e-6)
            kept = np.isin(np.arange(len(nodes)), np.argsort(expected)[:-2])
            seen += 1
        assert np.array_equal(found.detections[0].kept, kept)
        means.append(rows[kept].mean(axis=0))
        series |= {(t, node): row for node, row, keep in zip(nodes, rows, kept, strict=True) if keep}
    assert seen


def test_safeguard_is_the_papers():
    naive, rounds = references.SafeGuard(2, 4), list(federation(liars=1))
    for t, ((nodes, rows), (found, _)) in enumerate(zip(rounds, history(rules.SafeGuard(short=2, long=4), rounds), strict=True)):
        expected = naive.scores(t, dict(zip(nodes.tolist(), rows, strict=True)))
        np.testing.assert_allclose(found.detections[0].scores, list(expected.values()), rtol=1e-6)
        assert np.array_equal(found.detections[0].kept, np.array(list(expected.values())) <= 1)
    assert naive.out


def test_the_martingale_filter_is_the_papers():
    naive, rounds, way = references.MartingaleFilter(1000, 0.01), list(federation(liars=1)), np.zeros(D)
    for (nodes, rows), (found, _) in zip(rounds, history(rules.MartingaleFilter(), rounds), strict=True):
        expected = naive.scores(dict(zip(nodes.tolist(), rows, strict=True)), way)
        np.testing.assert_allclose(found.detections[0].scores, list(expected.values()), rtol=1e-6)
        way = way + found.value
    assert naive.out


def test_zeno_is_the_papers():
    (_, rows), *_ = federation()
    found = rules.chain(rules.Zeno(f=2, rho=0.1, gamma=0.5), rules.Mean()).aggregate(rows, loss=lambda u: float(((u - 1) ** 2).sum()))
    scores = [D - ((0.5 * row - 1) ** 2).sum() - 0.1 * (row**2).sum() for row in rows]
    np.testing.assert_allclose(found.detections[0].scores, -np.array(scores))
    assert found.selected == tuple(sorted(np.argsort(scores)[2:]))
    assert np.isin([0, 1], found.selected).sum() == 0


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


def test_zeno_plus_plus_is_the_papers():
    (_, rows), *_ = federation()
    own = np.linspace(0.5, 1.0, D)
    found = rules.chain(rules.ZenoPlusPlus(rho=0.01, epsilon=0.1, gamma=0.5), rules.Mean()).aggregate(rows, trusted=own)
    unit = [row / np.linalg.norm(row) * np.linalg.norm(own) for row in rows]
    kept = [0.5 * own @ u - 0.01 * u @ u + 0.5 * 0.1 >= 0 for u in unit]
    assert np.array_equal(found.detections[0].kept, kept)
    np.testing.assert_allclose(found.value, np.mean([u for u, keep in zip(unit, kept, strict=True) if keep], axis=0))
    assert 0 < sum(kept) < len(kept)


def test_deepsight_is_the_papers():
    def cluster(points, precomputed, single):
        metric = "precomputed" if precomputed else "euclidean"
        return HDBSCAN(min_cluster_size=3, min_samples=3, metric=metric, allow_single_cluster=single, copy=True).fit(points).labels_

    rng, seen = np.random.default_rng(5), set()
    for _ in range(6):
        rows = 1.0 + 0.2 * rng.normal(size=(12, D))
        rows[8:, 3:9] *= 0.01
        rows[8:, 10:] *= -0.01
        rows = rows[rng.permutation(12)]
        order = np.lexsort(rows.T[::-1])
        found = rules.chain(rules.DeepSight(min_cluster=3), rules.Mean()).aggregate(rows, layout=LAYOUT, predict=predictions)
        outputs = [predictions(row) for row in rows[order]]
        expected = references.deepsight(rows[order], 3, 3, cluster, outputs, predictions(np.zeros(D)), 1 / 3)
        np.testing.assert_allclose(found.detections[0].scores[order], expected)
        middle, kept = np.median(np.linalg.norm(rows, axis=1)), found.detections[0].kept
        clipped = [row * min(1, middle / np.linalg.norm(row)) for row in rows[kept]]
        np.testing.assert_allclose(found.value, np.mean(clipped, axis=0))
        seen |= set(kept.tolist())
    assert seen == {True, False}


def test_lasa_is_the_papers():
    for _, rows in federation():
        found = rules.LASA().aggregate(rows, layout=LAYOUT)
        np.testing.assert_allclose(found.value, references.lasa(rows, [((3, 3), 0, 9), ((3,), 9, 12)], 0.3, 2.0, 1.0))
        assert found.influence.sum() == pytest.approx(1)
        assert ((found.scores == 1) == (found.influence == 0)).all()


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5])
def test_lasa_is_the_papers_where_values_tie_and_hardly_any_are_left(sparsity):
    rng = np.random.default_rng(0)
    for _ in range(40):
        rows = rng.normal(size=(6, D)).round(1)
        found = rules.LASA(sparsity=sparsity)(rows, layout=LAYOUT)
        np.testing.assert_allclose(found, references.lasa(rows, [((3, 3), 0, 9), ((3,), 9, 12)], sparsity, 2.0, 1.0))


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
