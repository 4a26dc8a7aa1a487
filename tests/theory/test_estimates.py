"""The estimates of a round and its certificate: the formulas written once more, in loops over sorted lists."""

import math

import numpy as np
import pytest

from flwr_byzantine import rules
from flwr_byzantine.theory.certificate import SLACK, certify, estimate, nearest_distance, typical_distance


def distances(n, seed=0, d=3):
    X = np.random.default_rng(seed).normal(size=(n, d))
    return ((X[:, None] - X) ** 2).sum(-1)


def middle(values, rank):
    return sorted(values)[rank]


@pytest.mark.parametrize(("n", "f"), [(2, 0), (3, 0), (5, 1), (6, 1), (7, 2), (11, 2), (11, 5), (12, 3)])
@pytest.mark.parametrize("noise", [None, 0.01, 50.0, -1.0])
def test_formulas_of_a_rounds_estimate(n, f, noise):
    D, h, kappa, norm = distances(n, seed=n), n - f, 0.4, 9.0
    apart = [[D[i, j] for j in range(n) if j != i] for i in range(n)]
    typical = middle([middle(row, f + (h - 2) // 2) for row in apart], f + (h - 1) // 2)
    nearest = middle([middle(row, f) for row in apart], n // 2)
    assert (typical_distance(D, f), nearest_distance(D, f)) == (pytest.approx(typical), pytest.approx(nearest))
    for slack in (1.0, 2.0):
        found = estimate(D, f, kappa, norm, noise, slack)
        v, own = slack * typical / 2, min(typical / 2, nearest / 2 if noise is None else max(0.0, noise))
        lower = norm - math.sqrt(kappa * (1 - 1 / h) * v) - 2 * math.sqrt(v / h)
        expected = v, own, typical / 2 - own, max(0.0, lower), slack
        assert (found.variance, found.noise, found.heterogeneity, found.grad_norm, found.slack) == pytest.approx(expected)
    assert estimate(D, f, kappa, norm, noise) == estimate(D, f, kappa, norm, noise, SLACK)


def test_one_honest_reply_has_no_distance():
    assert typical_distance(np.zeros((1, 1)), 0) == nearest_distance(np.zeros((1, 1)), 0) == 0.0


@pytest.mark.parametrize("norm", [0.1, 3.0, 4.0, 30.0])
def test_formulas_of_a_certificate(norm):
    rule, D = rules.TrimmedMean(f=2), distances(11)
    found, kappa = certify(rule, D, norm, slack=1.2), rule.kappa(11)
    inner = estimate(D, 2, kappa, norm, slack=1.2)
    assert (found.kappa, found.estimate) == (kappa, inner)
    assert "at most 1.2 times the median" in found.assumes
    if inner.grad_norm == 0:
        assert (found.holds, found.sin_alpha, found.margin) == (False, None, None)
        return
    sine = math.sqrt(kappa * (1 - 1 / 9) * inner.variance) / inner.grad_norm
    assert (found.sin_alpha, found.margin) == (pytest.approx(sine), pytest.approx(1 - sine))
    assert found.holds is (sine < 1)


def test_a_rule_without_a_bound_gets_no_certificate():
    found = certify(rules.CGE(f=2), distances(11), 1.0)
    assert (found.holds, found.sin_alpha, found.margin, found.kappa, found.estimate) == (False, None, None, None, None)
    assert "no bound on κ is known for CGE(f=2) at n = 11 (it needs n >= 5)" in found.assumes
    assert certify(rules.Mean(), distances(11), 100.0).kappa == 0.0
