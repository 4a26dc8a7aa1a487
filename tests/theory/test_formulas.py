"""The theory's formulas written once more, over grids of their arguments."""

import itertools
import math

import numpy as np
import pytest

from flwr_byzantine import InvalidParameter, rules, theory
from flwr_byzantine.theory import Problem

PROBLEMS = [
    Problem(L=L, gap=gap, A=A, B=B, C=C, s=s, c_F=c)
    for L, gap, A, B, C, s, c in itertools.product((0.5, 2.0), (0.3, 3.0), (0.0, 0.1), (0.0, 1.5), (0.0, 0.4), (0.5, 1.0), (1.0, 2.5))
]
NUMBERS = [(n, f) for n in (1, 4, 9, 25) for f in range(12) if 2 * f < n]


def refuses(call, message):
    with pytest.raises(InvalidParameter, match=message):
        call()


@pytest.mark.parametrize(("n", "f"), NUMBERS)
def test_formulas_of_n_and_f(n, f):
    assert theory.kappa_lower_bound(n, f) == pytest.approx(f / (n - 2 * f))
    if 2 * f + 2 < n:
        inner = f * (n - f - 2) + f**2 * (n - f - 1)
        assert theory.krum_eta(n, f) == pytest.approx(math.sqrt(2 * (n - f + inner / (n - 2 * f - 2))))
    else:
        refuses(lambda: theory.krum_eta(n, f), rf"krum_eta needs 2f \+ 2 < n, got n = {n}, f = {f}; at least n = {2 * f + 3}")


@pytest.mark.parametrize(("n", "f"), [(1, 1), (2, 1), (10, 5), (11, 6)])
def test_formulas_need_an_honest_majority(n, f):
    for call in (theory.kappa_lower_bound, theory.krum_eta):
        refuses(lambda call=call: call(n, f), f"no rule withstands f = {f} of n = {n}")
    refuses(lambda: theory.kappa_lower_bound(5, -1), "f must be an integer >= 0")
    refuses(lambda: theory.kappa_lower_bound(0, 0), "n must be an integer >= 1")


@pytest.mark.parametrize(("n", "f", "d", "sigma", "norm"), [(11, 2, 1, 0.5, 2.0), (25, 5, 100, 0.1, 10.0), (9, 0, 7, 0.0, 0.3)])
def test_formulas_of_the_resilience_condition(n, f, d, sigma, norm):
    rule, h = rules.TrimmedMean(f=1), n - f
    kappa = rules.TrimmedMean(f=f).kappa(n)
    sine = math.sqrt(kappa * (1 - 1 / h) * d) * sigma / norm
    assert theory.sin_alpha(rule, n, f, d, sigma, norm) == pytest.approx(sine)
    eta = theory.krum_eta(n, f) * math.sqrt(d) * sigma / norm
    assert theory.sin_alpha(rules.Krum(f=0), n, f, d, sigma, norm, route="eta") == pytest.approx(eta)
    for route, made, expected in (("kappa", rule, sine), ("eta", rules.Krum(f=0), eta)):
        found = theory.is_resilient(made, n, f, d, sigma, norm, route)
        assert (found.sin_alpha, found.margin) == (pytest.approx(expected), pytest.approx(1 - expected))
        assert bool(found) is (expected < 1)
    tau = rules.Krum(f=f).kappa(n) * (1 - 1 / h) + 1 / h
    assert theory.second_moment_constant(rules.Krum(f=0), n, f) == pytest.approx(2 * max(1.0, tau))
    assert theory.second_moment_constant(rules.TrimmedMean(f=0), 9, 0) == 2.0
    assert theory.heterogeneity_floor(rule, n, f, 0.7) == pytest.approx(kappa * 0.49)
    refuses(lambda: theory.sin_alpha(rule, n, f, d, sigma, norm, route="eta"), "route 'eta' is Krum's alone")
    wider = rules.Krum(f=0, neighbors="n-f-1")
    refuses(lambda: theory.sin_alpha(wider, n, f, d, sigma, norm, route="eta"), "η is of Krum with n-f-2 neighbours, got Krum")


def test_formulas_at_the_edge_of_resilience():
    assert not theory.Resilience(1.0, 0.0)
    assert theory.Resilience(0.999, 0.001)


@pytest.mark.parametrize("margin", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("sigma", [0.01, 1.0, 3.0])
def test_formulas_of_the_batch_size(margin, sigma):
    rule = rules.Krum(f=2)
    sine = theory.sin_alpha(rule, 11, 2, 10, sigma, 4.0)
    assert theory.required_batch_size(rule, 11, 2, 10, sigma, 4.0, margin) == max(1, math.ceil((sine / (1 - margin)) ** 2))
    half = theory.required_batch_size(rule, 11, 2, 10, sigma, 4.0)
    assert half == theory.required_batch_size(rule, 11, 2, 10, sigma, 4.0, margin=0.5, route="kappa")


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_formulas_of_momentum(beta):
    assert theory.momentum_variance_factor(beta) == pytest.approx((1 - beta) / (1 + beta))


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_formulas_of_convergence(problem):
    p, K = problem, 40
    a, b, c = p.c_F * p.A, p.c_F * p.B, p.c_F * p.C
    limit = p.s / (p.L * b) if b else math.inf
    assert theory.admissible_step(p) == pytest.approx(limit)
    steps = [limit, 1 / math.sqrt(p.L * a * K) if a else math.inf, math.sqrt(6 * p.gap / (p.L * c * K)) if c else math.inf]
    assert theory.step_size(p, K) == pytest.approx(min(steps) if min(steps) < math.inf else 1 / p.L)
    gamma = min(0.2, limit)
    found = theory.convergence_bound(p, K, gamma)
    assert found.initial == pytest.approx(2 * (1 + p.L * a * gamma**2) ** K * p.gap / (gamma * p.s * K))
    assert found.noise == pytest.approx(p.L * c * gamma / p.s)
    assert found.bias == 0.0
    assert found.total == found.initial + found.noise
    if limit < math.inf:
        refuses(lambda: theory.convergence_bound(p, K, 1.001 * limit), r"gamma must be at most s/\(L c_F B\)")


@pytest.mark.parametrize(
    ("gap", "kappa", "h", "noise", "spread"), [(3.0, 0.5, 8, 1.6, 0.6), (0.0, 2.0, 1, 0.3, 0.0), (1.0, 0.0, 5, 0.0, 2.0)]
)
def test_formulas_of_the_basin(gap, kappa, h, noise, spread):
    L, K, gamma = 2.0, 50, 1 / 8
    V = (1 - 1 / h) * noise + spread
    found = theory.basin_bound(L=L, gap=gap, kappa=kappa, h=h, noise=noise, K=K, gamma=gamma, spread=spread)
    expected = 4 * gap / (gamma * K), 4 * L * gamma * (noise / h + kappa * V), 2 * kappa * V
    assert (found.initial, found.noise, found.bias) == pytest.approx(expected)
    if spread == 0:
        assert theory.basin_bound(L=L, gap=gap, kappa=kappa, h=h, noise=noise, K=K, gamma=gamma) == found


def test_step_schedules_are_their_formulas():
    for k in (0, 1, 7):
        assert theory.Constant(0.3)(k) == 0.3
        assert theory.InverseRoot(0.3, K=4)(k) == pytest.approx(0.15)
        assert theory.Polynomial(0.3)(k) == pytest.approx(0.3 / (k + 1) ** 0.75)
        assert theory.Polynomial(0.3, p=1.0)(k) == pytest.approx(0.3 / (k + 1))


@pytest.mark.parametrize("rule", [rules.Mean(), rules.Krum(f=1), rules.Median(f=1)], ids=str)
def test_formulas_of_the_ratio(rule):
    X = np.random.default_rng(0).normal(size=(6, 2))
    for honest in (np.arange(5), np.array([0, 2, 4]), np.array([1])):
        centre = X[honest].mean(0)
        spread = sum(((x - centre) ** 2).sum() for x in X[honest]) / len(honest)
        expected = ((rule(X) - centre) ** 2).sum() / spread if len(honest) > 1 else 0.0
        assert theory.kappa_ratio(rule, X, honest) == pytest.approx(expected)
