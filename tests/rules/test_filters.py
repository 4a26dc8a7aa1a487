"""Rules that trust, filter and draw, against plain loops: their parameters, edges, seeds and scores."""

import numpy as np
import pytest
from sklearn.cluster import MeanShift, estimate_bandwidth

from flwr_byzantine import rules
from tests.support import reference
from tests.support import reference_newer as newer


def rows(n=9, d=40, seed=0, shift=1.0):
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


def draws(seed, round=0):
    return np.random.default_rng([seed, round])


@pytest.mark.parametrize("confidence", [0.5, 1.0, 3.0])
def test_foolsgolds_confidence_scales_the_logit(confidence):
    X = rows(7, 6) * np.linspace(0.5, 2.0, 7)[:, None]
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    likeness = unit @ unit.T - np.eye(7)
    peak = likeness.max(axis=1)
    pardoned = [[likeness[i, j] * (peak[i] / peak[j] if peak[j] > peak[i] > 0 else 1) for j in range(7)] for i in range(7)]
    alpha = 1 - np.max(pardoned, axis=1)
    alpha = np.minimum(alpha / alpha.max(), 0.99)
    rate = np.clip(confidence * (np.log(alpha / (1 - alpha)) + 0.5), 0, 1)
    found = rules.FoolsGold(confidence=confidence).aggregate(X)
    np.testing.assert_allclose(found.weights, rate / rate.sum(), atol=1e-12)
    np.testing.assert_allclose(found.scores, 1 - rate, atol=1e-12)


def test_foolsgold_takes_the_mean_where_all_are_alike():
    found = rules.FoolsGold().aggregate(np.tile([[1.0, 2.0]], (4, 1)))
    np.testing.assert_allclose(found.weights, 0.25)


def test_fltrusts_scores_are_what_is_missing_to_a_cosine_of_one():
    X, own = np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), np.array([4.0, 0.0])
    found = rules.FLTrust().aggregate(X, reference=own)
    trust = np.array([1.0, 0.0, 0.0, np.sqrt(0.5), 0.0])
    np.testing.assert_allclose(found.scores, 1 - trust, atol=1e-12)
    np.testing.assert_allclose(found.weights, trust / trust.sum() * 4 / np.array([2, 3, 1, np.sqrt(2), 1]), atol=1e-12)
    nobody = rules.FLTrust().aggregate(-X[[0, 3]], reference=own)
    assert nobody.value.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(nobody.influence, 0.5)


def sign_guard(X, low=0.1, high=3.0, share=0.1, seed=0):
    """The paper's two filters, with scikit-learn's mean shift."""
    norms, d = np.linalg.norm(X, axis=1), X.shape[1]
    middle = np.median(norms)
    fit = [low * middle <= norm <= high * middle for norm in norms]
    seen = X[:, np.sort(draws(seed).choice(d, max(1, int(share * d)), replace=False))]
    features = np.array([[(row > 0).mean(), (row == 0).mean(), (row < 0).mean()] for row in seen])
    width = estimate_bandwidth(features, quantile=0.5)
    labels = MeanShift(bandwidth=width).fit(features).labels_ if width > 0 else np.zeros(len(X), int)
    alike = labels == np.bincount(labels).argmax()
    both = np.flatnonzero(fit & alike) if (fit & alike).any() else np.flatnonzero(fit)
    return tuple(both.tolist()), reference.clip(X[both], middle).mean(0)


@pytest.mark.parametrize(
    "options", [{}, {"share": 1.0}, {"share": 0.3, "seed": 5}, {"low": 0.9}, {"high": 1.05}, {"low": 0.8, "high": 1.2}]
)
def test_signguard_is_its_two_filters(options):
    for seed in range(6):
        X = rows(9, 60, seed, shift=0.3) * np.linspace(0.2, 2.0, 9)[:, None]
        X[:2] *= -1
        X[2:5, ::3] = 0.0
        selected, value = sign_guard(X, **options)
        found = rules.SignGuard(**options).aggregate(X)
        assert found.selected == selected
        np.testing.assert_allclose(found.value, value, atol=1e-12)


def test_signguards_bounds_on_the_norm_are_within():
    X = np.array([[1.0], [1.0], [1.0], [3.0], [0.1], [3.01], [0.09]])
    assert rules.SignGuard(share=1.0).aggregate(X).selected == (0, 1, 2, 3, 4)
    assert rules.SignGuard(low=0.5, high=2.0).aggregate(np.array([[1.0], [1.0], [2.0], [0.5], [2.1], [0.4], [1.0]])).selected == (
        0,
        1,
        2,
        3,
        6,
    )


def projections(rows):
    rows = rows - rows.mean(0)
    return (rows @ np.linalg.svd(rows, full_matrices=False)[2][0]) ** 2


@pytest.mark.parametrize("options", [{}, {"c": 0.0}, {"c": 1.5}, {"c": 100.0}, {"b": 3}, {"niters": 4, "b": 5, "seed": 2}, {"niters": 3}])
def test_dnc_drops_the_largest_projections_of_each_draw(options):
    given = {"niters": 1, "c": 1.0, "b": 10_000, "seed": 0} | options
    for seed in range(4):
        X, rng = rows(9, 30, seed), draws(given["seed"])
        X[:2] += 2.0
        good = set(range(9))
        for _ in range(given["niters"]):
            scores = projections(X[:, np.sort(rng.choice(30, min(given["b"], 30), replace=False))])
            good &= set(np.argsort(scores, kind="stable")[: max(9 - int(given["c"] * 2), 1)].tolist())
        found = rules.DnC(f=2, **options).aggregate(X)
        assert found.selected == (tuple(sorted(good)) or (int(np.argmin(scores)),))
        np.testing.assert_allclose(found.scores, scores, rtol=1e-6, atol=1e-9)


SEEDED = [cls for cls in rules.available() if "seed" in cls.__dataclass_fields__]


@pytest.mark.parametrize("cls", SEEDED, ids=lambda cls: cls.__name__)
def test_a_seed_makes_other_draws_and_each_round_its_own(cls):
    options = {rules.DnC: {"f": 2, "b": 3}, rules.FLAME: {"noise": 0.1}, rules.GAS: {"f": 2, "p": 3}}.get(cls, {})
    X = rows(9, 60, shift=0.2)

    def answer(seed, round=0):
        rule = cls(seed=seed, **options)
        rule = rules.chain(rule, rules.Median()) if isinstance(rule, rules.PreAggregation) else rule
        value, following = rule.step(X, rules.State(round))
        assert following.round == round + 1
        return tuple(value)

    assert answer(0) == answer(0) == answer(0)
    assert len({answer(seed) for seed in range(6)}) > 1
    assert len({answer(0, round) for round in range(6)}) > 1


@pytest.mark.parametrize("noise", [0.01, 0.5])
def test_flames_noise_is_its_generators_times_the_median_norm(noise):
    X = rows(7, 50)
    plain, noisy = rules.FLAME(noise=0.0)(X), rules.FLAME(noise=noise, seed=3)(X)
    expected = noise * np.median(np.linalg.norm(X, axis=1)) * draws(3).standard_normal(50)
    np.testing.assert_allclose(noisy - plain, expected, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2])
def test_flame_and_clustering_of_few_rows(n):
    X = rows(n, 5)
    np.testing.assert_allclose(rules.FLAME(noise=0.0)(X), reference.clip(X, np.median(np.linalg.norm(X, axis=1))).mean(0))
    found = rules.ClippedClustering().aggregate(X)
    assert len(found.selected or range(n)) >= max(1, n // 2)
    if n == 1:
        np.testing.assert_array_equal(found.value, X[0])


FIRST = {  # rows that tie, and which the rule must take: the first as the caller has them
    rules.Krum(f=0): ([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], (0,)),
    rules.MultiKrum(f=0, m=2): ([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]], (0, 1)),
    rules.MultiKrum(f=0, m=1, iterated=True): ([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]], (0,)),
    rules.CGE(f=1): ([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]], (0, 1, 2)),
    rules.MDA(f=1): ([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]], (0, 1, 2)),
    rules.SMEA(f=1): ([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]], (0, 1, 2)),
}


@pytest.mark.parametrize("rule", FIRST, ids=str)
def test_ties_go_to_the_first_rows_as_they_were_given(rule):
    given, first = FIRST[rule]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        found = rule.aggregate(np.array(given)[order])
        assert found.selected == first
        if found.scores is not None:
            assert np.ptp(found.scores) == pytest.approx(0)


@pytest.mark.parametrize(
    "rule", [rules.Krum(f=1), rules.CGE(f=1), rules.MultiKrum(f=1), rules.MoNNA(f=1), rules.GeometricMedian()], ids=str
)
def test_scores_stay_with_their_rows(rule):
    X, order = rows(8, 3), np.random.default_rng(1).permutation(8)
    if isinstance(rule, rules.MoNNA):
        order = np.array([0, *(order[order > 0])])
    plain, moved = rule.aggregate(X), rule.aggregate(X[order])
    np.testing.assert_allclose(moved.scores, plain.scores[order], atol=1e-9)
    np.testing.assert_allclose(moved.weights, plain.weights[order], atol=1e-12)


def test_a_filter_behind_a_mixing_rule_sees_the_mixed_rows():
    X = rows(9, 30)
    X[:2] += 3.0
    mixed = reference.nnm(X, 2)
    np.testing.assert_allclose(rules.chain(rules.NNM(f=2), rules.CGE(f=2))(X), reference.cge(mixed, 2))
    np.testing.assert_allclose(rules.chain(rules.NNM(f=2), rules.MoNNA(f=2))(X), reference.monna(mixed, 2))
    np.testing.assert_allclose(
        rules.chain(rules.NNM(f=2), rules.CenteredClipping(tau=0.5, max_iter=2))(X), reference.centered_clipping(mixed, 0.5, 2)
    )
    own = rows(1, 30, seed=9)[0]
    np.testing.assert_allclose(rules.chain(rules.NNM(f=2), rules.FLTrust())(X, reference=own), newer.fltrust(mixed, own))
    np.testing.assert_allclose(rules.chain(rules.ARC(f=2), rules.MoNNA(f=2))(X), reference.monna(reference.arc(X, 2), 2))


def test_flame_tells_a_minority_that_points_elsewhere_from_the_rest():
    """Eight rows along one axis, three at 60 degrees to it: their distances are below 1, and count as what they are."""
    rng, other = np.random.default_rng(0), np.eye(50)[0] / 2 + np.eye(50)[1] * np.sqrt(0.75)
    X = np.array([*(np.eye(50)[0] + 0.02 * rng.normal(size=50) for _ in range(8)), *(other + 0.02 * rng.normal(size=50) for _ in range(3))])
    assert max(rules.FLAME(f=3, noise=0.0).aggregate(X).selected) < 8
