"""Weiszfeld's iterations: where they start, how they are smoothed, and when they stop, against plain loops over the rows."""

from itertools import pairwise

import numpy as np
import pytest

from flwr_byzantine import rules, theory
from flwr_byzantine.arrays import compiled

NEEDS_NUMBA = pytest.mark.skipif(not compiled.AVAILABLE, reason="Numba is not installed")


@pytest.fixture(autouse=True, params=[pytest.param("compiled", marks=NEEDS_NUMBA), "numpy"])
def _form(request, monkeypatch):
    """Each test by the compiled steps and by NumPy's."""
    monkeypatch.setattr(compiled, "AVAILABLE", request.param == "compiled")


def normal(seed, n, d=3):
    return np.random.default_rng(seed).normal(size=(n, d))


ROWS = {
    "cloud": normal(0, 7),
    "far outlier": np.vstack([normal(1, 6), [[1e4, 0.0, 0.0]]]),
    "nearly on a line": normal(2, 8, 1) * np.array([[1.0, 1e-5, 0.0]]) + 1e-7 * normal(3, 8),
    "slow": np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1e-3], [1.0, -1e-3], [5.0, 3.0]]),
}


def sums(X, y, floor):
    return np.maximum(np.linalg.norm(X - y, axis=1), floor)


def weiszfeld(X, steps, nu=1e-6, start="medoid", smoothing="relative"):
    """The first `steps` iterates and the sums of distances to them, the start first."""
    D = np.linalg.norm(X[:, None] - X, axis=2)
    medoid = int(D.sum(axis=1).argmin())
    floor = nu * (np.median(D[medoid]) if smoothing == "relative" else 1.0)
    points = [{"medoid": X[medoid], "mean": X.mean(0), "origin": np.zeros(X.shape[1])}[start]]
    for _ in range(steps):
        weights = 1 / sums(X, points[-1], floor)
        points.append(weights / weights.sum() @ X)
    return points, [sums(X, y, floor).sum() for y in points]


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("start", ["medoid", "mean", "origin"])
@pytest.mark.parametrize(("smoothing", "nu"), [("relative", 1e-6), ("relative", 0.3), ("absolute", 0.1)])
def test_the_iterates_are_weiszfelds(name, start, smoothing, nu):
    X = ROWS[name]
    points, _ = weiszfeld(X, 6, nu, start, smoothing)
    for steps in (1, 2, 6):
        rule = rules.GeometricMedian(start=start, smoothing=smoothing, nu=nu, max_iter=steps, tol=0.0)
        np.testing.assert_allclose(rule(X), points[steps], rtol=1e-6, atol=1e-8 * np.abs(X).max())


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("tol", [0.1, 1e-3, 1e-5])
def test_it_stops_after_the_first_step_that_gains_a_smaller_share_than_tol(name, tol):
    X = ROWS[name]
    points, totals = weiszfeld(X, 1000)
    gains = [(before - after) / after for before, after in pairwise(totals)]
    last = next(k for k, gain in enumerate(gains, 1) if gain <= tol)
    assert last < 1000
    found = rules.GeometricMedian(tol=tol)(X)
    np.testing.assert_allclose(found, points[last], rtol=1e-6, atol=1e-8 * np.abs(X).max())
    cut = rules.GeometricMedian(tol=0.0, max_iter=last)
    np.testing.assert_array_equal(found, cut(X))


def test_at_the_default_tolerance_it_has_the_least_sum_of_distances():
    """Rows around a row far off: a stop that came too early would show."""
    for name, X in ROWS.items():
        best = weiszfeld(X, 3000)[1][-1]
        found = rules.GeometricMedian().aggregate(X)
        assert np.linalg.norm(X - found.value, axis=1).sum() <= best * (1 + (1e-5 if name == "slow" else 1e-8))
        np.testing.assert_allclose(found.scores, np.linalg.norm(X - found.value, axis=1), rtol=1e-5, atol=1e-7 * np.abs(X).max())


def test_where_more_than_half_of_the_rows_are_equal_that_row_is_it():
    X = np.array([[1.0, 2.0]] * 4 + [[5.0, 0.0], [0.0, 9.0], [3.0, 3.0]])
    out = rules.GeometricMedian().aggregate(X)
    assert out.value.tolist() == [1.0, 2.0]
    assert out.weights.sum() == out.weights.max() == 1.0
    np.testing.assert_allclose(out.scores, np.linalg.norm(X - X[0], axis=1))


@pytest.mark.parametrize(
    ("options", "equivariant", "scales", "robust"),
    [
        ({}, True, True, True),
        ({"start": "mean"}, True, True, True),
        ({"start": "origin"}, False, True, False),
        ({"smoothing": "absolute"}, True, False, False),
        ({"nu": 1e-4}, True, True, True),
        ({"nu": 1.1e-4}, True, True, False),
        ({"tol": 1e-10}, True, True, True),
        ({"tol": 1.1e-10}, True, True, False),
        ({"max_iter": 100}, True, True, True),
        ({"max_iter": 99}, True, True, False),
    ],
)
def test_what_it_declares_depends_on_how_it_is_run(options, equivariant, scales, robust):
    rule = rules.GeometricMedian(**options)
    assert (rule.equivariant, rule.scales, rule.robust) == (equivariant, scales, robust)


@pytest.mark.parametrize(
    ("n", "f", "options"),
    [
        *((101, 50, {}), (151, 75, {}), (201, 100, {}), (1001, 500, {}), (101, 50, {"nu": 1e-14}), (100, 49, {"max_iter": 100})),
        *((100, 49, {"tol": 1e-9}), (21, 10, {}), (201, 100, {"start": "mean"}), (11, 5, {"start": "mean", "max_iter": 100})),
        *((11, 3, {"start": "mean"}), (5, 2, {"start": "origin"})),
    ],
)
def test_kappa_is_declared_only_where_the_iterations_get_away_from_colluders(n, f, options):
    """On a pile beside the honest rows' circle, which is the medoid, or far away, which drags the mean."""
    rule, angles = rules.GeometricMedian(f=f, **options), 2 * np.pi * np.arange(n - f) / (n - f)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    piles = [np.tile([place, 0.0], (f, 1)) for place in (0.2 * (n - f), 0.26 * (n - f), 1e6, 1e30, 1e70)]
    with np.errstate(over="ignore"):
        worst = max(theory.kappa_ratio(rule, np.vstack([pile, circle]), np.arange(f, n)) for pile in piles)
    declared = rule.kappa(n)
    assert declared is None or worst <= declared
    expected = {(101, 50): True, (21, 10): True, (11, 3): True}.get((n, f), False) and options.get("nu") is None
    assert (declared is not None) == expected
