"""Live estimates and certificates: right without attackers, and not to be faked by colluders who try."""

import itertools
import math

import numpy as np
import pytest

from flwr_byzantine import attacks, rules, theory
from flwr_byzantine.theory.certificate import SLACK, certify, estimate, typical_distance

CERTIFIED = [rules.TrimmedMean(f=2), rules.Krum(f=2), rules.Median(f=2), rules.chain(rules.NNM(f=2), rules.TrimmedMean(f=2))]


def distances(X):
    G = X @ X.T
    return np.maximum(np.diag(G)[:, None] + np.diag(G) - 2 * G, 0)


def certificate(rule, X):
    return certify(rule, distances(X), float(np.linalg.norm(rule(X))), squares=(X**2).sum(axis=1))


def sample(rng, n, d, sigma, grad_norm):
    g = rng.normal(size=d)
    g *= grad_norm / np.linalg.norm(g)
    return g, g + sigma * rng.normal(size=(n, d))


@pytest.mark.parametrize("d", [10, 300])
def test_estimates_without_attackers(d):
    _, X = sample(np.random.default_rng(0), 20, d, 0.5, 30.0)
    found = estimate(distances(X), f=4, kappa=0.5, norm=float(np.linalg.norm(X.mean(0))))
    assert found.variance / SLACK == pytest.approx(d * 0.25, rel=0.35)
    assert found.grad_norm <= 30.0
    assert found.grad_norm > 15.0


def test_noise_and_heterogeneity_apart():
    rng, d = np.random.default_rng(1), 500
    centres = np.repeat(3.0 * rng.normal(size=(4, d)) / math.sqrt(d), 5, axis=0)
    X = centres + 0.05 * rng.normal(size=(20, d))
    noise = d * 0.05**2
    for reported in (None, noise):
        found = estimate(distances(X), f=3, kappa=0.5, norm=1.0, noise=reported)
        assert found.noise == pytest.approx(noise, rel=0.3)
        assert found.heterogeneity == pytest.approx(9.0, rel=0.35)


@pytest.mark.parametrize(("n", "f"), [(4, 1), (7, 2), (11, 2), (11, 3), (20, 6), (5, 2), (3, 1)])
def test_typical_distance_cannot_be_pushed_past_honest_values(n, f):
    """Never below the honest median of medians; for n >= 3f + 1 never above the largest honest distance."""
    rng = np.random.default_rng(n)
    for place in (0.0, 1e-6, 1.0, 1e6):
        for _ in range(30):
            X = rng.normal(size=(n, 3))
            X[n - f :] = place * rng.normal(size=(f, 3)) if place else X[0]
            H = distances(X[: n - f])
            apart = [np.sort(np.delete(row, i))[(n - f - 2) // 2] for i, row in enumerate(H)]
            found = typical_distance(distances(X), f)
            assert found >= np.sort(apart)[(n - f - 1) // 2] * (1 - 1e-9)
            if n >= 3 * f + 1:
                assert found <= H.max() * (1 + 1e-9)


def colluders(X, rule, rng):
    """Sets of two Byzantine rows that try to look certain: close together, on top of honest rows, far along the mean, ..."""
    mean, spread = X.mean(0), X.std(0)
    yield from (attack(X, 2, rng, rule) for attack in (attacks.ALIE(z=1.5), attacks.IPM(epsilon=0.5), attacks.MinMax(), attacks.Mimic()))
    for factor in (0.0, 1.0, 3.0, 30.0, 1e4):
        yield np.repeat(factor * mean[None], 2, axis=0)
    yield X[:2].copy()
    for sign in (-1, 1):
        yield np.repeat((mean + sign * 3 * spread)[None], 2, axis=0)
    best, margin = X[:2].copy(), -math.inf
    for _ in range(60):  # hill climbing on the margin itself
        trial = best + rng.normal(size=best.shape) * spread * rng.choice([0.1, 1.0, 10.0])
        found = certificate(rule, np.vstack([X, trial])).margin
        if found is not None and found > margin:
            best, margin = trial, found
    yield best


@pytest.mark.parametrize("rule", CERTIFIED, ids=str)
def test_colluders_cannot_fake_a_certificate(rule):
    """Wherever it says that the condition holds, it holds for the true σ and ‖g‖; gradients from none to large."""
    rng, positive = np.random.default_rng(0), 0
    for d, grad_norm in itertools.product((3, 100), (0.0, 0.5, 2.0, 5.0, 10.0, 100.0)):
        sigma = 1 / math.sqrt(d)
        for _ in range(3):
            _, X = sample(rng, 9, d, sigma, grad_norm)
            for B in colluders(X, rule, rng):
                found = certificate(rule, np.vstack([X, B]))
                positive += found.holds
                if found.holds:
                    assert theory.is_resilient(rule, 11, 2, d, sigma, grad_norm)
    assert positive > 30


@pytest.mark.parametrize("rule", CERTIFIED, ids=str)
def test_colluders_cannot_deny_a_certificate_that_is_clear(rule):
    """n >= 3f + 1: rows at any distance move the estimates only among honest values."""
    rng = np.random.default_rng(3)
    _, X = sample(rng, 9, 200, 1 / math.sqrt(200), 100.0)
    assert all(certificate(rule, np.vstack([X, B])).holds for B in colluders(X, rule, rng))


def test_slack_and_numbers():
    D = np.full((11, 11), 2.0) - 2 * np.eye(11)
    found = estimate(D, f=2, kappa=0.5, norm=10.0, slack=1.5)
    assert found.variance == pytest.approx(1.5)
    assert found.grad_norm == pytest.approx(10 - math.sqrt(0.5 * (8 / 9) * 1.5) - 2 * math.sqrt(1.5 / 9))
    answer = certify(rules.TrimmedMean(f=2), D, 10.0)
    kappa = rules.TrimmedMean(f=2).kappa(11)
    grad = 10 - math.sqrt(kappa * (8 / 9) * 1.5) - 2 * math.sqrt(1.5 / 9)
    assert answer.sin_alpha == pytest.approx(math.sqrt(kappa * (8 / 9) * 1.5) / grad)
    assert certify(rules.TrimmedMean(f=2), D, 0.1).sin_alpha is None
