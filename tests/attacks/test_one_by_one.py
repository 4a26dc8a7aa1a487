"""Attacks one by one against the papers' formulas; those that search for the worst are in test_optimised and test_adaptive."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from flwr_byzantine import attacks
from flwr_byzantine.attacks import AttackContext
from flwr_byzantine.attacks.base import ColludingAttack
from tests.support.attacks import honest


@given(n=st.integers(5, 60), data=st.data())
def test_alie_is_the_papers(n, data):
    f = data.draw(st.integers(1, (n - 1) // 2))
    X = honest(n - f, 7)
    s = math.floor(n / 2 + 1) - f
    z = min(max(norm.ppf((n - f - s) / (n - f)), 0.0), 3.0) if s > 0 else 3.0
    np.testing.assert_allclose(attacks.ALIE()(X, f), np.tile(X.mean(0) - z * X.std(0), (f, 1)))


def test_simple_attacks_are_their_formulas():
    X = honest()
    np.testing.assert_allclose(attacks.IPM(epsilon=0.3)(X, 1)[0], -0.3 * X.mean(0))
    np.testing.assert_allclose(attacks.SignFlip(scale=2.0)(X, 2), -2 * X[:2])
    np.testing.assert_allclose(attacks.Scaling(factor=4.0)(X, 2), 4 * X[:2])
    np.testing.assert_array_equal(attacks.Mimic(target=3)(X, 2), X[[3, 3]])
    norms = [math.sqrt(sum(value**2 for value in row)) for row in X]
    unit = X.mean(0) / math.sqrt(sum(value**2 for value in X.mean(0)))
    np.testing.assert_allclose(attacks.PGA()(X, 1)[0], -max(norms) * unit)
    np.testing.assert_allclose(attacks.PGA(norm="mean")(X, 1)[0], -sum(norms) / 9 * unit)
    noise = attacks.Gaussian(std=3.0)(np.zeros((1, 20_000)), 1)
    assert noise.std() == pytest.approx(3.0, rel=0.05)


def test_nan_and_inf_spoil_the_share_asked_for():
    X = honest()
    assert np.isnan(attacks.NaNs()(X, 1)).all()
    for sign in (1, -1):
        sent = attacks.Inf(share=0.5, sign=sign)(X, 1)[0]
        assert (sent[:15] == sign * np.inf).all()
        np.testing.assert_array_equal(sent[15:], X[0, 15:])


def test_disguised_free_rider_repeats_the_last_step_under_noise_that_decreases():
    X, step = np.zeros((1, 20_000)), np.random.default_rng(3).normal(size=20_000)
    rider = attacks.DisguisedFreeRider(gamma=2.0)
    assert not rider(X, 1).any()  # nothing to repeat in a first round
    memory = {}
    for round, previous in ((2, step), (4, 7 * step)):
        context = AttackContext(round, previous, memory=memory)
        noise = rider.vectors(X, 1, context)[0] - previous
        assert noise.std() == pytest.approx(step.std() * round**-2, rel=0.03)  # σ stays that of the first step
        memory = rider.next_memory(X, 1, context)
    silent = attacks.DisguisedFreeRider(sigma=0.5, gamma=0.0, delta=False).vectors(X, 1, AttackContext(9, step))
    assert silent.std() == pytest.approx(0.5, rel=0.03)
    assert abs(np.corrcoef(silent[0], step)[0, 1]) < 0.05


def test_mpaf_drags_any_model_to_one_base_model():
    fake = attacks.MPAF(lam=2.0, std=0.3)
    models = [np.zeros(5000), np.ones(5000), np.arange(5000.0)]
    bases = [w + fake.vectors(np.zeros((1, 5000)), 2, AttackContext(k + 1, broadcast=w)) / 2 for k, w in enumerate(models)]
    for base in bases:
        np.testing.assert_allclose(base, np.tile(bases[0][0], (2, 1)), atol=1e-9)
    assert bases[0].std() == pytest.approx(0.3, rel=0.05)
    other = attacks.MPAF(lam=2.0, std=0.3, which=1)(np.zeros((1, 5000)), 1) / 2
    assert abs(np.corrcoef(bases[0][0], other[0])[0, 1]) < 0.1
    w, lam, n = models[2], 1e6, 10  # the paper: averaged in, the model goes to the direction of w' - w
    mean = fake.vectors(np.zeros((1, 5000)), 1, AttackContext(broadcast=w))[0] / 2 * lam / n
    assert np.dot(mean, bases[0][0] - w) / np.linalg.norm(mean) / np.linalg.norm(bases[0][0] - w) == pytest.approx(1.0)


def test_sybils_send_one_attackers_vector():
    X = honest()
    np.testing.assert_array_equal(attacks.Sybil(attack=attacks.Scaling(factor=3.0))(X, 4), np.tile(3 * X[0], (4, 1)))
    apart = attacks.Sybil(noise=0.1)(X, 4) + X[0]
    assert np.linalg.norm(apart, axis=1) == pytest.approx(0.1 * np.linalg.norm(X[0]), rel=0.5)
    assert len(np.unique(apart.round(9), axis=0)) == 4


def test_drift_goes_one_way_by_a_share_of_its_own_norm():
    memory, rows = {}, honest(4, 50)
    for round, row in enumerate(rows, start=1):
        context = AttackContext(round, memory=memory)
        way = attacks.Drift(step=0.2).vectors(row[None], 1, context)[0] - row
        memory = attacks.Drift(step=0.2).next_memory(row[None], 1, context)
        np.testing.assert_allclose(way, -0.2 * np.linalg.norm(row) * rows[0] / np.linalg.norm(rows[0]))
    ways = attacks.Drift(direction="random")(rows, 4) - rows
    np.testing.assert_allclose(np.corrcoef(ways), np.ones((4, 4)))
    np.testing.assert_allclose(np.linalg.norm(ways, axis=1), 0.5 * np.linalg.norm(rows, axis=1))


def test_on_off_behaves_then_strikes_and_keeps_the_inner_memory():
    attack = attacks.OnOff(attack=attacks.Scaling(factor=5.0), start=3, on=2, period=4)
    X = honest()
    struck = [not np.array_equal(attack.vectors(X, 1, AttackContext(round))[0], X[0]) for round in range(1, 12)]
    assert struck == [False, False, True, True, False, False, True, True, False, False, True]
    inner = attacks.OnOff(attack=attacks.Drift(), start=1)
    assert inner.next_memory(X[:1], 1, AttackContext()).keys() == {"direction"}
    assert np.isnan(attacks.OnOff(attack=attacks.NaNs(), start=1)(X, 1)).all()


@pytest.mark.parametrize("direction", ["unit", "std", "sign"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_min_max_and_min_sum_stay_just_within_the_honest_spread(direction, scale):
    X = honest() * scale
    far = max(((x - y) ** 2).sum() for x in X for y in X)
    b = attacks.MinMax(direction=direction)(X, 1)[0]
    assert ((X - b) ** 2).sum(1).max() == pytest.approx(far, rel=1e-6)
    total = max(((X - y) ** 2).sum() for y in X)
    b = attacks.MinSum(direction=direction)(X, 1)[0]
    assert ((X - b) ** 2).sum() == pytest.approx(total, rel=1e-6)


def test_attacks_of_the_users_own_see_the_context():
    class Echo(ColludingAttack):
        """Sends the round."""

        def vector(self, honest, f, context):
            return np.full(honest.shape[1], float(context.round))

    assert (Echo().vectors(honest(), 2, AttackContext(round=7)) == 7).all()
    assert Echo().next_memory(honest(), 2, AttackContext()) == {}
    x, y = Echo().poison(np.ones(2), np.zeros(2), 10, np.random.default_rng(0))
    assert (x.tolist(), y.tolist()) == ([1.0, 1.0], [0.0, 0.0])
