"""Checks that every attack must pass, over the attacks that `available()` discovers; and mistakes."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from flwr_byzantine import attacks, errors, rules
from flwr_byzantine.attacks import AttackContext
from flwr_byzantine.attacks.attackers import Attacker
from flwr_byzantine.attacks.base import OwnAttack
from flwr_byzantine.attacks.catalogue import FIXED
from tests.support.attacks import honest
from tests.support.devices import each_device

RULE = rules.Median(f=3)  # for attacks that must know one


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


@pytest.mark.parametrize("cls", [cls for cls in attacks.available() if not cls.sees_model], ids=lambda cls: cls.__name__)
def test_an_attack_that_sees_no_model_does_the_same_whatever_the_model(cls):
    told = AttackContext(rule=RULE, previous=object(), broadcast=object())  # nothing that can be computed with
    for method in (cls().vectors, cls().next_memory):
        np.testing.assert_equal(method(honest(), 3, dataclasses.replace(told)), method(honest(), 3, AttackContext(rule=RULE)))


def test_an_attack_that_is_derived_from_one_that_sees_no_model_sees_it():
    class Named:
        def __init_subclass__(cls, name, **options):
            super().__init_subclass__(**options)
            cls.name = name

    class Mine(attacks.ALIE, Named, name="mine"):
        pass

    assert not attacks.ALIE.sees_model
    assert (Mine.sees_model, Mine.name) == (True, "mine")


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
