"""Sampling, failure, κ and η in theory against numbers: change a constant and a test fails."""

import math
import subprocess
import sys

import numpy as np
import pytest

from flwr_byzantine import InvalidParameter, attacks, rules, theory
from flwr_byzantine.theory import empirical
from simulations.convergence.workers import Takeover
from tests.support.theory import BOUNDED, F, N, bounded, honest_and_colluders

ETA = {(7, 1): 4.24, (10, 2): 6.00, (10, 3): 9.11, (20, 3): 8.09, (25, 5): 11.27, (50, 10): 19.64, (100, 20): 36.10, (100, 40): 104.2}


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


def test_one_colluder_makes_the_average_anything():
    H, u = np.random.default_rng(0).normal(size=(N - 1, 4)), np.full(4, 5.0)
    np.testing.assert_allclose(rules.Mean()(np.vstack([H, Takeover()(H, 1)])), u)


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
