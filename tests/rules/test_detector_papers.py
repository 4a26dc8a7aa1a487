"""Detectors against plain loops written from their papers, over rounds in which clients come and go."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import HDBSCAN

from flwr_byzantine import rules
from flwr_byzantine.rules.detecting.split import halves, two_or_one
from tests.support import detector_references as references
from tests.support.detecting import LAYOUT, D, federation, history, predictions


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
