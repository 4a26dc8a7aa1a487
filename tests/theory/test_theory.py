"""Each statement of theory against numbers: change a constant and a test fails."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

from flwr_byzantine import InvalidParameter, attacks, rules, theory
from flwr_byzantine.theory import Problem, empirical
from simulations.convergence.workers import Takeover

ETA = {(7, 1): 4.24, (10, 2): 6.00, (10, 3): 9.11, (20, 3): 8.09, (25, 5): 11.27, (50, 10): 19.64, (100, 20): 36.10, (100, 40): 104.2}
N, F = 11, 2
BOUNDED = [
    rules.Krum(f=F),
    rules.MultiKrum(f=F),
    rules.Median(f=F),
    rules.GeometricMedian(f=F),
    rules.TrimmedMean(f=F),
    rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F)),
    rules.chain(rules.NNM(f=F), rules.Median(f=F)),
    rules.chain(rules.NNM(f=F), rules.Krum(f=F)),
]
bounded = pytest.mark.parametrize("rule", BOUNDED, ids=str)


@pytest.mark.parametrize(("n", "f"), ETA)
def test_krum_eta_has_the_published_values(n, f):
    assert theory.krum_eta(n, f) == pytest.approx(ETA[n, f], abs=0.05 if n == 100 and f == 40 else 0.005)


@pytest.mark.parametrize(("bad", "f", "expected"), [(10, 1, 0.26), (10, 3, 0.008), (20, 2, 0.32), (20, 4, 0.025)])
def test_the_probability_of_failure_is_the_hypergeometric_tail(bad, f, expected):
    exact = sum(math.comb(bad, k) * math.comb(100 - bad, 10 - k) for k in range(f + 1, 11)) / math.comb(100, 10)
    assert theory.failure_probability(100, bad, 10, f) == pytest.approx(exact, rel=1e-9)
    assert exact == pytest.approx(expected, rel=0.05)
    assert theory.failure_probability(100, bad, 10, f, rounds=7) == pytest.approx(1 - (1 - exact) ** 7)


def test_smallest_f_is_the_smallest():
    for epsilon in (0.3, 0.1, 0.01, 1e-4):
        f = theory.smallest_f(100, 20, 10, rounds=5, epsilon=epsilon)
        assert theory.failure_probability(100, 20, 10, f, 5) <= epsilon
        assert f == 0 or theory.failure_probability(100, 20, 10, f - 1, 5) > epsilon


def test_smallest_sample_meets_the_rules_condition():
    plan = theory.plan_sampling(100, 10, rounds=50, epsilon=0.01, rule=rules.Krum(f=0))
    assert plan.feasible
    assert plan.sample_size >= plan.min_n == 2 * plan.f + 3
    smaller = theory.plan_sampling(100, 10, plan.sample_size - 1, rounds=50, epsilon=0.01, rule=rules.Krum(f=0))
    assert not smaller.feasible


def test_impossible_demands_say_why_and_what_would_be_possible():
    plan = theory.plan_sampling(20, 9, sample_size=10, rounds=100, epsilon=0.001, rule=rules.Bulyan(f=0))
    assert not plan.feasible
    assert "withstands f = 1 at most" in plan.reason


def honest_and_colluders(rng, d, sigma, g, attack):
    H = g + sigma * rng.normal(size=(N - F, d))
    return np.vstack([H, attack(H, F)])


@bounded
@pytest.mark.parametrize("attack", [attacks.ALIE(z=1.5), attacks.IPM(epsilon=0.5), attacks.SignFlip(scale=5.0), attacks.Mimic()], ids=str)
def test_bias_and_second_moment_stay_within_what_kappa_promises(rule, attack):
    """‖E F - g‖ <= √(κ (1 - 1/h) d) σ and E‖F‖² <= c_F E‖G‖², by Monte Carlo."""
    rng, d, sigma = np.random.default_rng(0), 4, 0.3
    g = np.ones(d)
    F_values = np.array([rule(honest_and_colluders(rng, d, sigma, g, attack)) for _ in range(400)])
    bound = theory.sin_alpha(rule, N, F, d, sigma, float(np.linalg.norm(g))) * np.linalg.norm(g)
    assert np.linalg.norm(F_values.mean(0) - g) <= bound
    second = float((g**2).sum() + d * sigma**2)
    assert (F_values**2).sum(1).mean() <= theory.second_moment_constant(rule, N, F) * second


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


AGGREGATORS = [
    cls for cls in rules.available() if not issubclass(cls, rules.PreAggregation) and cls.__name__ != "FLTrust"
]  # which asks for a reference
EVERY = [*(cls(f=F) if "f" in cls.__dataclass_fields__ else cls() for cls in AGGREGATORS), *BOUNDED[5:]]


@pytest.mark.parametrize("rule", EVERY, ids=str)
def test_empirical_kappa_lies_between_half_the_lower_bound_and_the_declared(rule):
    found = theory.empirical_kappa(rule, N, d=2, f=F, starts=2, steps=2 if isinstance(rule, rules.SignGuard) else 8)  # 7 ms a call
    assert found >= 0.5 * theory.kappa_lower_bound(N, F)
    if rule.f == F and rule.robust and rule.kappa(N) is not None:
        assert found <= rule.kappa(N) * (1 + 1e-9)  # exact ones are reached


def test_gradient_ascent_finds_more():
    rule, honest = rules.Median(f=F), np.arange(N - F)
    X = np.random.default_rng(0).normal(size=(N, 2))
    assert empirical._ascend(rule, X, honest, steps=20) > 1.2 * theory.kappa_ratio(rule, X, honest)


@bounded
def test_no_rule_beats_the_universal_lower_bound(rule):
    """f of the rows at 1, the others at 0: whoever answers 0 is wrong by f/(n - 2f) if f of the zeros are Byzantine."""
    X = np.zeros((N, 1))
    X[:F] = 1.0
    assert rule(X) == pytest.approx(0.0, abs=1e-12) or isinstance(rule, rules.MultiKrum)
    assert theory.kappa_ratio(rule, X, np.arange(N - F)) >= theory.kappa_lower_bound(N, F) * (1 - 1e-9) or isinstance(rule, rules.MultiKrum)


@bounded
def test_heterogeneity_leaves_a_floor_below_kappa_times_spread(rule):
    rng = np.random.default_rng(0)
    H = rng.normal(size=(N - F, 3))
    spread = float(np.sqrt(((H - H.mean(0)) ** 2).sum(1).mean()))
    worst = max(
        ((rule(np.vstack([H, attack(H, F)])) - H.mean(0)) ** 2).sum() for attack in (attacks.ALIE(z=1.5), attacks.MinMax(), attacks.Mimic())
    )
    assert 1e-4 < worst <= theory.heterogeneity_floor(rule, N, F, spread)


def test_one_colluder_makes_the_average_anything():
    H, u = np.random.default_rng(0).normal(size=(N - 1, 4)), np.full(4, 5.0)
    np.testing.assert_allclose(rules.Mean()(np.vstack([H, Takeover()(H, 1)])), u)


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


def test_kappa_table_prints():
    text = str(theory.kappa_table([rules.Krum(f=F), rules.CGE(f=F)], N, starts=1, steps=1))
    assert "declared" in text
    assert "5.416" in text
    assert "none known" in text


def test_unknown_bounds_are_said_to_be_unknown():
    with pytest.raises(InvalidParameter, match="no bound on κ is known"):
        theory.sin_alpha(rules.CGE(f=2), N, F, 3, 0.1, 1.0)
    with pytest.raises(InvalidParameter, match="no rule withstands f = 5 of n = 10"):
        theory.kappa_lower_bound(10, 5)


def test_theory_loads_neither_flwr_nor_torch():
    code = "import sys, flwr_byzantine.theory; print([m for m in ('flwr', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
