"""The forms that attacks have in the code of published comparisons, against that code's own steps."""

import numpy as np
import pytest
from scipy.stats import norm

from flwr_byzantine import attacks

H, F, D = 12, 4, 30


def honest(seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, size=(H, D))


def test_flanders_alie_takes_the_distribution_function_and_the_roots_of_the_deviations():
    X, share = honest(), (H - (9 - F)) / H  # n = 16: 9 are a majority
    expected = X.mean(axis=0) - norm.cdf(share) * np.sqrt(X.std(axis=0))
    np.testing.assert_allclose(attacks.ALIE(form="flanders")(X, F), np.tile(expected, (F, 1)))
    np.testing.assert_allclose(attacks.ALIE(form="flanders", z=2.0)(X, 1)[0], X.mean(axis=0) - 2 * np.sqrt(X.std(axis=0)))
    assert attacks.ALIE(form="flanders").idle(2, 1) == ""  # Φ is never 0


def flanders_gamma(X, threshold=1e-5):
    """Its search, step by step."""
    farthest = max(np.linalg.norm(a - b) for a in X for b in X)
    good, gamma, step = 6.0, 5.0, 2.5
    while abs(good - gamma) > threshold and step > threshold:
        far = max(np.linalg.norm(X.mean(axis=0) - gamma * X.std(axis=0) - x) for x in X)
        good, gamma = (gamma, gamma + step / 2) if far < farthest else (good, gamma - step / 2)
        step /= 2
    return good


@pytest.mark.parametrize("outlier", [0.0, 80.0, 400.0])
def test_flanders_min_max_is_its_search_and_six_deviations_where_that_finds_nothing(outlier):
    X = honest()
    X[0] -= outlier * np.eye(D)[0]
    gamma = flanders_gamma(X)
    assert (gamma == 6.0) == (outlier == 0.0)
    np.testing.assert_allclose(attacks.MinMax(form="flanders")(X, F), np.tile(X.mean(axis=0) - gamma * X.std(axis=0), (F, 1)), rtol=1e-6)


def test_gaussian_noise_may_be_added_to_the_honest_update():
    X = 1000.0 + honest()
    alone, added = (attacks.Gaussian(std=10.0, added=choice)(X, 3, rng=np.random.default_rng(1)) for choice in (False, True))
    np.testing.assert_allclose(added, X[:3] + alone)
