"""The search for the worst κ, step by step: a plain version of it draws the same numbers and ends at the same rows."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize

from flwr_byzantine import rules, theory
from flwr_byzantine.theory import empirical


def configurations(n, f, d, starts, rng):
    """Honest rows at 0 and, fewer, at 1 on the first axis, colluders beside or beyond them; then random rows."""
    axis = np.array([1.0] + [0.0] * (d - 1))
    for minority, place in itertools.product(range(1, n - f), (1.0, 0.0, 2.0, 0.5, -1.0)):
        X = [axis if i < minority else 0 * axis for i in range(n - f)] + [place * axis] * f
        yield np.array(X) + 1e-6 * rng.normal(size=(n, d))
    for start in range(starts):
        X = rng.normal(size=(n, d))
        X[n - f :] = X[: n - f].mean(0) + [0.25, 0.5, 1, 2, 4, 8][start % 6] * axis
        yield X


def climb(rule, X, honest, steps, rng):
    """Each row moves with probability 1/2; longer steps after a gain, shorter ones else."""
    best, scale = theory.kappa_ratio(rule, X, honest), 1.0
    for _ in range(steps):
        moves = rng.normal(size=X.shape)
        trial = X + scale * moves * (rng.random((len(X), 1)) < 0.5)
        found = theory.kappa_ratio(rule, trial, honest)
        better = found > best
        best, X = (found, trial) if better else (best, X)
        scale = 1.5 * scale if better else max(0.9 * scale, 1e-3)
    return best, X


def ascend(rule, X, honest, steps):
    ratio = lambda flat: theory.kappa_ratio(rule, flat.reshape(X.shape), honest)  # noqa: E731
    options = {"maxiter": steps, "maxfun": steps * X.size}
    end = minimize(lambda flat: -np.log(ratio(flat) + 1e-12), X.ravel(), method="L-BFGS-B", options=options)
    return max(ratio(X.ravel()), ratio(end.x))


@pytest.mark.parametrize(("n", "f", "d", "starts"), [(3, 1, 1, 1), (5, 1, 2, 8), (4, 0, 3, 2)])
def test_configurations_are_those_of_the_plain_loop(n, f, d, starts):
    found = list(empirical._configurations(n, f, d, starts, np.random.default_rng(0)))
    expected = list(configurations(n, f, d, starts, np.random.default_rng(0)))
    assert len(found) == len(expected) == 5 * (n - f - 1) + starts
    for ours, plain in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-12)


@pytest.mark.parametrize("rule", [rules.Median(f=1), rules.TrimmedMean(f=1)], ids=str)
def test_the_climb_is_that_of_the_plain_loop(rule):
    X, honest = np.random.default_rng(1).normal(size=(5, 2)), np.arange(4)
    for steps in (0, 1, 80):
        ours = empirical._climb(rule, X, honest, steps, np.random.default_rng(2))
        plain = climb(rule, X, honest, steps, np.random.default_rng(2))
        assert ours[0] == pytest.approx(plain[0], rel=1e-12)
        np.testing.assert_allclose(ours[1], plain[1], rtol=1e-12)


def test_the_ascent():
    for seed in range(4):
        X, rule = np.random.default_rng(seed).normal(size=(5, 2)), rules.TrimmedMean(f=1)
        found = empirical._ascend(rule, X, np.arange(4), 4)
        assert found == pytest.approx(ascend(rule, X, np.arange(4), 4), rel=1e-9)


@pytest.mark.parametrize("seed", [0, 4])
def test_the_search_is_the_best_of_three_ascents(seed):
    rule, honest, rng = rules.TrimmedMean(f=1), np.arange(3), np.random.default_rng(seed)
    climbed = [climb(rule, X, honest, 3, rng) for X in configurations(4, 1, 1, 2, rng)]
    best = sorted(climbed, key=lambda found: found[0])[-3:]
    expected = max(ascend(rule, X, honest, 3) for _, X in best)
    assert theory.empirical_kappa(rules.TrimmedMean(f=0), 4, d=1, f=1, starts=2, steps=3, seed=seed) == pytest.approx(expected, rel=1e-9)
    assert theory.empirical_kappa(rule, 4, d=1, starts=2, steps=3, seed=seed) == pytest.approx(expected, rel=1e-9)


def test_no_seed_is_seed_0_and_other_seeds_search_elsewhere():
    values = [theory.empirical_kappa(rules.Median(f=1), 4, d=1, starts=1, steps=1, **seed) for seed in ({}, {"seed": 0}, {"seed": 1})]
    assert values[0] == values[1] != values[2]


def test_the_tables_rows():
    (krum, cge, mean) = theory.kappa_table([rules.Krum(f=1), rules.CGE(f=0), rules.Mean()], 6, d=1, starts=1, steps=1)
    assert (krum.rule, krum.declared, krum.lower) == ("Krum(f=1)", rules.Krum(f=1).kappa(6), 0.25)
    assert krum.found == theory.empirical_kappa(rules.Krum(f=1), 6, d=1, starts=1, steps=1)
    assert (cge.declared, mean.declared, mean.lower) == (None, 0.0, 0.0)
    text = str(theory.kappa_table([rules.CGE(f=1)], 4, d=1, starts=1, steps=1)).splitlines()
    assert text[0] == "rule        declared  lower bound  worst found"
    assert text[1].startswith("CGE(f=1)  none known        0.500  ")
