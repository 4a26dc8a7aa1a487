"""The rules by FLANDERS' published conventions: against those written out, and against Flower's own Krum."""

import numpy as np
import pytest
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.strategy import Krum

from flwr_byzantine import rules
from simulations.reproductions.rules import WARM_UP, BaselineFLANDERS, BaselineMultiKrum, forecast

RNG = np.random.default_rng(0)
N, D = 8, 30
MODEL = RNG.standard_normal(D)


def round_of(attackers=()):
    models = MODEL + 0.1 * RNG.standard_normal((N, D))
    models[list(attackers)] += 10.0 * RNG.standard_normal((len(attackers), D))
    return models


class Starts:
    """The first factor, whatever is asked for."""

    def __init__(self, start):
        self.start = start

    def standard_normal(self, _shape):
        return self.start


def test_the_forecast_is_that_of_the_fits_written_out():
    X = MODEL + 0.1 * RNG.standard_normal((N, D))
    scaled, B = (X - X.min()) / X.max(), RNG.standard_normal((D, D))
    columns = np.linalg.svd(scaled, full_matrices=False)[2]
    found = forecast(X, Starts(B @ columns.T))
    for _ in range(100):
        A = scaled @ B @ scaled.T @ np.linalg.inv(scaled @ B.T @ B @ scaled.T + np.eye(N))
        B = scaled.T @ A @ scaled @ np.linalg.inv(scaled.T @ A.T @ A @ scaled + np.eye(D))
    np.testing.assert_allclose(found, A @ X @ B.T, atol=1e-12)


@pytest.mark.parametrize("attackers", [(), (2,), (1, 3, 4, 6, 7)])
def test_flanders_keeps_as_many_as_do_not_attack_even_a_minority_from_the_second_round_on(attackers):
    rule = rules.chain(BaselineFLANDERS(keep=N - len(attackers), sampling=20), rules.Mean())
    state = rule.init(D)
    for k in range(5):
        X = round_of(attackers if k >= WARM_UP else ())
        mean, state = rule.step(X, state)
        honest = [i for i in range(N) if i not in attackers]
        if k == 0:
            np.testing.assert_allclose(mean, X.mean(axis=0))
        if k >= WARM_UP:
            np.testing.assert_allclose(mean, X[honest].mean(axis=0))
    held = state.arrays["BaselineFLANDERS.known.models"]
    assert all(np.allclose(held[i], held[honest].mean(axis=0)) for i in attackers)


@pytest.mark.parametrize("told", [1, 3, 5])
def test_multi_krum_is_flowers_for_any_number_of_attackers(told):
    X = round_of((1, 5))
    results = [(None, FitRes(Status(Code.OK, ""), ndarrays_to_parameters([row]), 1, {})) for row in X]
    parameters, _ = Krum(num_malicious_clients=told, num_clients_to_keep=3).aggregate_fit(1, results, [])
    (theirs,) = parameters_to_ndarrays(parameters)
    np.testing.assert_allclose(BaselineMultiKrum(told=told, m=3)(X), theirs)
