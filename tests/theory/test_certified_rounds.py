"""How many rounds a live certificate vouches for, and that it vouches for none that it should not: every rule with a κ, six attacks."""

import numpy as np
import pytest

from flwr_byzantine import attacks, rules, theory
from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.theory.certificate import typical_product

ATTACKS = {
    "ALIE": attacks.ALIE(z=1.5),
    "IPM": attacks.IPM(epsilon=0.5),
    "sign flip": attacks.SignFlip(scale=5.0),
    "Min-Max": attacks.MinMax(),
    "Mimic": attacks.Mimic(),
    "Gaussian": attacks.Gaussian(std=5.0),
}
N, F, D = 11, 3, 1000


def candidates(f):
    for cls in rules.available():
        if not issubclass(cls, rules.PreAggregation) and cls not in (rules.FLTrust, rules.Mean):
            yield cls(f=f)
    yield from (rules.chain(rules.NNM(f=f), last(f=f)) for last in (rules.TrimmedMean, rules.Median, rules.Krum, rules.GeometricMedian))
    yield rules.chain(rules.ARC(f=f), rules.TrimmedMean(f=f))


PROVED = [rule for f in (1, 2) for rule in candidates(f) if rule.kappa(N) is not None]


def rounds(rule, attack, ratio, count, seed=0):
    """The certificate and the true sin α of rounds in which ‖g‖ is `ratio` times √d σ."""
    rng, h, f = np.random.default_rng(seed), N - rule.f, rule.f
    for _ in range(count):
        g = rng.normal(size=D)
        g *= ratio / np.linalg.norm(g)
        honest = g + rng.normal(size=(h, D)) / np.sqrt(D)
        X = np.vstack([honest, attack(honest, f, rng, rule)])
        value = rule(X)
        given = theory.certify(rule, sq_distances(X @ X.T), float(np.linalg.norm(value)), squares=(X**2).sum(axis=1))
        yield given, theory.sin_alpha(rule, N, f, D, 1 / np.sqrt(D), ratio), float(value @ g) / ratio**2


@pytest.mark.parametrize("rule", [rules.TrimmedMean(f=F), rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F))], ids=str)
def test_rounds_of_little_noise_are_certified_under_alie(rule):
    """At ‖g‖ = 5 √d σ; by the published κ, 5.8 and 20, none was."""
    found = list(rounds(rule, ATTACKS["ALIE"], 5.0, 60))
    assert sum(given.holds for given, _, _ in found) >= 58
    assert all(given.margin == 1 - given.sin_alpha and given.sin_alpha >= true for given, true, _ in found)


@pytest.mark.parametrize(("rule", "ratio"), [(rules.TrimmedMean(f=F), 1.3), (rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F)), 2.5)])
def test_the_replies_own_products_say_more_of_the_gradient_than_the_aggregate(rule, ratio):
    assert all(given.holds for given, _, _ in rounds(rule, ATTACKS["ALIE"], ratio, 20))


def test_colluders_can_only_lower_the_product_of_honest_replies():
    rng = np.random.default_rng(0)
    for n, f in ((4, 1), (7, 2), (11, 3), (21, 8)):
        for place in (0.0, 1.0, -30.0, 1e6):
            X = 1 + rng.normal(size=(n, 5))
            X[:f] = place * (X[f:].mean(0) + rng.normal(size=5) / 10) if place else X[f]
            G, H = X @ X.T, X[f:] @ X[f:].T
            honest = typical_product(sq_distances(H), np.diag(H), 0)
            assert typical_product(sq_distances(G), np.diag(G), f) <= honest + 1e-9 * abs(honest)


@pytest.mark.parametrize("rule", PROVED, ids=str)
def test_no_certificate_is_false(rule):
    """Where it holds the condition holds too, by the true noise and gradient, and the aggregate descends as it says."""
    for attack in ATTACKS.values():
        for ratio in (0.5, 2.0, 4.0, 16.0):
            for given, true, along in rounds(rule, attack, ratio, 3):
                assert given.sin_alpha is None or given.sin_alpha >= true
                assert not given.holds or along >= 1 - given.sin_alpha


def test_most_rules_are_certified_where_there_is_hardly_any_noise():
    held = {type(rule).__name__ for rule in PROVED if all(given.holds for given, _, _ in rounds(rule, ATTACKS["ALIE"], 30.0, 3))}
    assert held >= {"TrimmedMean", "Median", "GeometricMedian", "Krum", "MultiKrum", "MeaMed", "Phocas", "MDA", "SMEA", "Chain"}
