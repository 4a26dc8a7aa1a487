"""Attacks against the papers' formulas; those that search for the worst are in test_attacks_optimised."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from flwr_byzantine import attacks, errors, rules
from flwr_byzantine.attacks import AttackContext
from flwr_byzantine.attacks.attackers import Attacker
from flwr_byzantine.attacks.base import ColludingAttack, OwnAttack
from flwr_byzantine.attacks.catalogue import FIXED
from tests.support.devices import each_device

RULE = rules.Median(f=3)  # for attacks that must know one


def honest(h=9, d=30, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(1.0, 2.0, size=(h, d)).astype(dtype)


every = pytest.mark.parametrize("cls", attacks.available(), ids=lambda cls: cls.__name__)


def test_available_are_all_exported_attacks_sorted_and_the_adaptive_one_tries_all_others():
    exported = [
        value for name in attacks.__all__ if isinstance(value := getattr(attacks, name), type) and issubclass(value, attacks.Attack)
    ]
    final = {cls for cls in exported if cls not in (attacks.Attack, attacks.OwnAttack, attacks.DataAttack)}
    assert set(attacks.available()) == final
    assert attacks.available() == sorted(final, key=lambda cls: cls.__name__)
    assert list(FIXED) == [cls for cls in attacks.available() if cls is not attacks.Adaptive]


@every
def test_shape_kind_dtype_and_honest_unchanged(cls):
    X = honest(dtype=np.float32)
    kept = X.copy()
    B = cls()(X, 3, rule=RULE)
    assert B.shape == (3, 30)
    assert B.dtype == np.float32
    np.testing.assert_array_equal(X, kept)
    T = cls()(torch.from_numpy(X), 3, rule=RULE)
    assert T.dtype == torch.float32
    np.testing.assert_array_equal(T.numpy(), B)
    assert cls()(X, 0, rule=RULE).shape == (0, 30)


@every
@each_device
def test_updates_that_lie_on_a_device_get_the_attack_there(cls, device):
    X = honest(dtype=np.float32)
    found = cls()(torch.from_numpy(X).to(device), 3, rule=RULE)
    assert (found.dtype, found.device.type) == (torch.float32, device)
    np.testing.assert_array_equal(found.cpu(), cls()(X, 3, rule=RULE))


@every
def test_declares_knowledge_and_source(cls):
    assert cls.knowledge in {"own", "honest", "rule"}
    assert any(character.isdigit() for character in cls.reference)
    assert "Source:" in cls.__doc__
    assert attacks.get(cls.__name__.upper()) is cls
    fields = {field.name: getattr(cls(), field.name) for field in dataclasses.fields(cls)}
    assert cls(**fields) == cls()
    assert hash(cls()) == hash(cls())


@every
def test_same_seed_same_vectors(cls):
    first, second, other = (cls()(honest(), 2, rng=np.random.default_rng(seed), rule=RULE) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    if cls is attacks.Gaussian:
        assert not np.array_equal(first, other)


HOSTILE = {
    "zeros": np.zeros((6, 8)),
    "equal": np.full((6, 8), 3.0),
    "tiny": honest(6, 8) * 1e-42,
    "huge": np.clip(honest(6, 8) * 1e38, -3.4e38, 3.4e38),
    "mixed": honest(6, 8) * np.logspace(-40, 37, 8),
    "one coordinate": honest(6, 1),
    "few": honest(3, 8),
    "symmetric": np.vstack([honest(3, 8), -honest(3, 8)]),
}


@every
@pytest.mark.parametrize("name", HOSTILE)
def test_finite_in_finite_out(cls, name):
    context = AttackContext(3, np.full(HOSTILE[name].shape[1], 1e38), rule=rules.Median(f=1), broadcast=np.zeros(HOSTILE[name].shape[1]))
    for dtype in (np.float32, np.float64):
        for rule in (rules.Median(f=1), rules.Mean(), rules.CenteredClipping(f=1)):
            sent = cls().vectors(HOSTILE[name].astype(dtype), 1, dataclasses.replace(context, rule=rule))
            assert sent.shape == (1, HOSTILE[name].shape[1])
            assert np.isfinite(sent).all() == cls.finite
            if cls.knowledge != "rule":
                break


@every
def test_enormous_float64_and_half_precision(cls):
    for X in (honest(6, 8) * 1e305, (honest(6, 8) * 1e4).astype(np.float16)):
        assert np.isfinite(cls()(X, 2, rule=rules.Median(f=2))).all() == cls.finite


@every
def test_one_honest_update_is_enough_for_every_attack(cls):
    sent = cls()(np.array([[1.0, -2.0]]), 2, rule=rules.Mean())
    assert sent.shape == (2, 2)
    assert np.isfinite(sent).all() == cls.finite


def test_colluders_leave_out_honest_rows_that_are_not_finite():
    X = honest()
    np.testing.assert_array_equal(attacks.ALIE(z=1.0)(np.vstack([X, np.full(30, np.nan)]), 2), attacks.ALIE(z=1.0)(X, 2))


SHOWN = [cls for cls in attacks.available() if cls.finite and not cls.poisons]
CLASSICAL = (rules.Mean(), rules.Median(f=3), rules.Krum(f=3), rules.TrimmedMean(f=3))


def bias(rule, attack, rounds=12, n=13, f=3, d=60):
    """How far, on average over rounds, the aggregate lies from the honest mean; the last f clients attack, or behave."""
    rng = np.random.default_rng(7)
    clients, step, total = 0.2 * rng.normal(size=(n, d)), None, np.zeros(d)
    group = [Attacker(attack, 0, who, rule) for who in range(f)] if isinstance(attack, OwnAttack) else [Attacker(attack, 0, None, rule)]
    for round in range(1, rounds + 1):
        X = clients + 0.8**round + 0.3 * rng.normal(size=(n, d))
        context = AttackContext(round, step, broadcast=np.zeros(d))
        if attack is None:
            sent = X[n - f :]
        elif isinstance(attack, OwnAttack):
            sent = [attacker.vectors(row[None], 1, context)[0] for attacker, row in zip(group, X[n - f :], strict=True)]
        else:
            sent = group[0].vectors(X[: n - f], f, context)
        step = rule(np.vstack([X[: n - f], sent]))
        total += step - X[: n - f].mean(axis=0)
    return np.linalg.norm(total / rounds)


@functools.cache
def usual(rule):
    """The same where all clients behave."""
    return bias(rule, None)


@pytest.mark.parametrize("cls", SHOWN, ids=lambda cls: cls.__name__)
def test_drives_some_rule_away_from_the_honest_mean_over_rounds(cls):
    attack = dataclasses.replace(cls(), evals=50) if cls is attacks.Adaptive else cls()
    assert max(bias(rule, attack) / usual(rule) for rule in CLASSICAL) > 1.4


@pytest.mark.parametrize("cls", [cls for cls in attacks.available() if cls.finite], ids=lambda cls: cls.__name__)
def test_an_update_that_is_not_finite_spoils_no_round_after_it(cls):
    options = {"evals": 20} if cls is attacks.Adaptive else {"form": "flanders"} if cls is attacks.FangKrum else {}
    attacker = Attacker(dataclasses.replace(cls(), **options), seed=0, rule=rules.Median())
    for round in (1, 2, 3):
        X = honest(6, 8)
        X[0, round] = [np.nan, np.inf, 0.0][round - 1]
        assert np.isfinite(attacker.vectors(X, 2, AttackContext(round, broadcast=np.ones(8)))).all()


# One by one


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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: attacks.get("allie"), "unknown attack 'allie'; did you mean 'ALIE'\\? choose one of: AGRTailored, ALIE, "),
        (lambda: attacks.SignFlip()(honest(), -1), "SignFlip: f must be an integer >= 0, got -1"),
        (lambda: attacks.IPM(epsilon=0), "IPM: epsilon must be a number > 0, got 0"),
        (lambda: attacks.SignFlip()([], 1), "expected at least one update, got none"),
        (lambda: attacks.Mimic(target=99)(honest(), 1), "Mimic: target must be below"),
        (lambda: attacks.ALIE()(honest(dtype=np.int64), 1), "needs updates of a float dtype"),
        (lambda: attacks.OnOff(on=3, period=2), "OnOff: period must be at least on = 3, got 2"),
        (lambda: attacks.OnOff(attack=attacks.ALIE()), "OnOff: attack must be an OwnAttack, got ALIE"),
        (lambda: attacks.Sybil(attack=attacks.LabelFlip()), "Sybil: attack must act on updates, got LabelFlip"),
        (lambda: attacks.Inf(sign=0), "Inf: sign must be one of 1, -1, got 0"),
        (lambda: attacks.OptimalIPM()(honest(), 1), "OptimalIPM must know the server's rule, got None; pass it as rule="),
        (lambda: attacks.Adaptive()(honest(), 3, rule=rules.Krum(f=6)), "needs at least"),
        (lambda: attacks.Adaptive(goal="model")(honest(), 1, rule=rules.Mean()), "goal='model'. must be able to tell how bad a model is"),
    ],
)
def test_mistakes_get_one_clear_sentence(make, message):
    with pytest.raises(errors.ByzantineError, match=message):
        make()
