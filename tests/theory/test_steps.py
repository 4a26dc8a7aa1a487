"""Bounds on SGD under attack against numbers and runs: batch sizes, momentum, steps, floors and basins."""

import itertools
import math

import numpy as np
import pytest

from flwr_byzantine import InvalidParameter, attacks, rules, theory
from flwr_byzantine.theory import Problem
from tests.support.theory import F, N, bounded, honest_and_colluders


def test_sin_alpha_formulas():
    rule = rules.Krum(f=5)
    assert theory.sin_alpha(rule, 25, 5, 9, 0.1, 2.0) == pytest.approx(math.sqrt(rule.kappa(25) * 0.95 * 9) * 0.1 / 2)
    assert theory.sin_alpha(rule, 25, 5, 9, 0.1, 2.0, route="eta") == pytest.approx(theory.krum_eta(25, 5) * 3 * 0.1 / 2)
    assert theory.is_resilient(rule, 25, 5, 9, 0.1, 2.0)
    assert not theory.is_resilient(rule, 25, 5, 9, 0.1, 2.0, route="eta")
    assert "stationary point" in theory.is_resilient(rule, 25, 5, 9, 0.1, 2.0).caveat
    tau = rule.kappa(25) * 0.95 + 0.05
    assert theory.second_moment_constant(rule, 25, 5) == pytest.approx(2 * tau)


def test_required_batch_size_is_the_smallest():
    for route in ("kappa", "eta"):
        b = theory.required_batch_size(rules.Krum(f=5), 25, 5, 100, 1.0, 10.0, 0.5, route)
        assert theory.sin_alpha(rules.Krum(f=5), 25, 5, 100, 1 / math.sqrt(b), 10.0, route) <= 0.5 + 1e-9
        assert theory.sin_alpha(rules.Krum(f=5), 25, 5, 100, 1 / math.sqrt(b - 1), 10.0, route) > 0.5


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_momentum_shrinks_the_variance_by_its_factor(beta):
    rng = np.random.default_rng(0)
    m = np.zeros(4000)
    for _ in range(200):
        m = beta * m + (1 - beta) * rng.normal(size=4000)
    assert m.var() == pytest.approx(theory.momentum_variance_factor(beta), rel=0.1)


def quadratic(d):
    scale = np.linspace(0.2, 1.0, d)
    return lambda w: 0.5 * float(scale @ w**2), lambda w: scale * w, 1.0


def wavy(d):
    """Nonconvex, bounded below by 0, 3-smooth: Σ w²/2 + 1 - cos(√2 w) has second derivative 1 + 2 cos(√2 w)."""
    root = math.sqrt(2)
    return lambda w: float((w**2 / 2 + 1 - np.cos(root * w)).sum()), lambda w: w + root * np.sin(root * w), 3.0


def measured(objective, sigma, K, gamma, seeds, rule=None, attack=None):
    d = 5
    value, grad, _ = objective(d)
    norms = np.zeros(K)
    for seed in range(seeds):
        rng, w = np.random.default_rng(seed), np.full(d, 2.0)
        for k in range(K):
            g = grad(w)
            norms[k] += (g**2).sum() / seeds
            step = g + sigma * rng.normal(size=d) if rule is None else rule(honest_and_colluders(rng, d, sigma, g, attack))
            w = w - gamma * step
    return norms.min(), value(np.full(d, 2.0))


SETTINGS = list(itertools.product((quadratic, wavy), (0.1, 1.0), (30, 150), (1.0, 0.3, 0.0)))


def test_sgd_never_exceeds_the_bound_and_the_bound_is_not_vacuous():
    """24 configurations on a quadratic and a nonconvex objective; share 0 takes the recommended step."""
    close = 0
    for objective, sigma, K, share in SETTINGS:
        value, _, L = objective(5)
        problem = Problem(L=L, gap=value(np.full(5, 2.0)), B=1.0, C=5 * sigma**2)
        gamma = share * theory.admissible_step(problem) or theory.step_size(problem, K)
        found, _ = measured(objective, sigma, K, gamma, seeds=20)
        bound = theory.convergence_bound(problem, K, gamma).total
        assert found <= bound
        close += bound <= 100 * found
    assert close >= len(SETTINGS) / 3


def test_bound_is_the_formula():
    problem = Problem(L=2.0, gap=3.0, A=0.1, B=1.5, C=0.4, s=0.5, c_F=2.0)
    gamma = theory.admissible_step(problem)
    assert gamma == pytest.approx(0.5 / (2 * 2 * 1.5))
    bound = theory.convergence_bound(problem, 10, gamma)
    assert bound.initial == pytest.approx(2 * (1 + 2 * 0.2 * gamma**2) ** 10 * 3 / (gamma * 0.5 * 10))
    assert bound.noise == pytest.approx(2 * 0.8 * gamma / 0.5)
    with pytest.raises(InvalidParameter, match="gamma must be at most"):
        theory.convergence_bound(problem, 10, 2 * gamma)


def test_recommended_step_gives_a_rate_of_one_over_root_K():
    problem = Problem(L=1.0, gap=1.0, A=0.05, B=1.0, C=1.0)
    totals = [theory.convergence_bound(problem, K, theory.step_size(problem, K)).total for K in (10**3, 10**5, 10**7)]
    slopes = np.diff(np.log(totals)) / math.log(100)
    assert np.all(slopes <= -0.5 + 0.02)


@bounded
def test_heterogeneity_leaves_a_floor_below_kappa_times_spread(rule):
    rng = np.random.default_rng(0)
    H = rng.normal(size=(N - F, 3))
    spread = float(np.sqrt(((H - H.mean(0)) ** 2).sum(1).mean()))
    worst = max(
        ((rule(np.vstack([H, attack(H, F)])) - H.mean(0)) ** 2).sum() for attack in (attacks.ALIE(z=1.5), attacks.MinMax(), attacks.Mimic())
    )
    assert 1e-4 < worst <= theory.heterogeneity_floor(rule, N, F, spread)


def test_basin_bound_is_the_formula():
    found = theory.basin_bound(L=2.0, gap=3.0, kappa=0.5, h=8, noise=1.6, K=50, gamma=0.1, spread=0.6)
    V = (1 - 1 / 8) * 1.6 + 0.6
    assert found.initial == pytest.approx(4 * 3 / (0.1 * 50))
    assert found.noise == pytest.approx(4 * 2 * 0.1 * (1.6 / 8 + 0.5 * V))
    assert found.bias == pytest.approx(2 * 0.5 * V)
    assert found.total == pytest.approx(found.initial + found.noise + found.bias)
    with pytest.raises(InvalidParameter, match=r"gamma must be a number > 0 and <= 0.125, got 0.2"):
        theory.basin_bound(L=2.0, gap=3.0, kappa=0.5, h=8, noise=1.6, K=50, gamma=0.2)


def test_decaying_steps_go_on_where_constant_ones_stall():
    """γ_k = γ_0 / (k + 1)^p: Σγ = ∞, Σγ² < ∞, so the gradient goes to 0; a constant step keeps its noise floor."""

    def tail(schedule):
        rng, w, norms = np.random.default_rng(0), np.full(5, 2.0), []
        for k in range(6000):
            norms.append(float((np.sin(w) ** 2).sum()))
            w = w - schedule(k) * (np.sin(w) + rng.normal(size=5))
        return np.mean(norms[-1000:])

    assert tail(theory.Polynomial(1.0, p=0.75)) < 0.1 * tail(theory.Constant(0.5))
    assert [theory.Polynomial(2.0, p=0.75)(k) for k in (0, 15)] == [2.0, 0.25]
    assert theory.InverseRoot(3.0, K=9)(5) == 1.0


def test_step_lower_bound_and_floor_are_the_formulas():
    problem = Problem(L=2.0, gap=3.0, A=0.1, B=1e-9, C=0.4, s=0.5, c_F=2.0)
    assert theory.step_size(problem, 50) == pytest.approx(min(1 / math.sqrt(2 * 0.2 * 50), math.sqrt(2 * 3 * 3.0 / (2 * 0.8 * 50))))
    noisy = Problem(L=2.0, gap=3.0, A=0.001, B=1e-9, C=4.0, s=0.5, c_F=2.0)
    assert theory.step_size(noisy, 50) == pytest.approx(math.sqrt(2 * 3 * 3.0 / (2 * 8 * 50)))
    assert theory.kappa_lower_bound(10, 3) == pytest.approx(3 / 4)
    rule = rules.TrimmedMean(f=F)
    assert theory.heterogeneity_floor(rule, N, F, 0.3) == pytest.approx(rule.kappa(N) * 0.09)
