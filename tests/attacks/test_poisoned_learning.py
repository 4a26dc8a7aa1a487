"""Data attacks on a model that learns: what they cost or plant under the mean and under robust rules, and how success is counted."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from flwr_byzantine import attacks, rules
from flwr_byzantine.attacks.poisoning import attack_success_rate
from tests.support import digits
from tests.support.poisoning import images

ATTACKERS = (0, 1, 2)
CHAIN = rules.chain(rules.NNM(f=3), rules.TrimmedMean(f=3))


# --- what a model learns ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clean():
    return digits.federate()


@pytest.mark.parametrize(
    ("attack", "fall"),
    [
        (attacks.LabelFlip(), 0.03),
        (attacks.DynamicLabelFlip(), 0.06),
        (attacks.LabelFlip(pairs=[(c, (c + 1) % 10) for c in range(10)]), 0.05),
    ],
    ids=["static", "dynamic", "pairs"],
)
def test_label_flips_lower_the_accuracy_under_the_mean_and_not_under_a_robust_chain(attack, fall, clean):
    assert digits.accuracy(clean) > 0.92
    assert digits.accuracy(digits.federate(attack, ATTACKERS)) < digits.accuracy(clean) - fall
    assert digits.accuracy(digits.federate(attack, ATTACKERS, CHAIN)) > digits.accuracy(clean) - 0.01


def test_a_source_target_flip_is_aimed():
    attack = attacks.LabelFlip(pairs={7: 1})
    assert digits.success(digits.federate(attack, ATTACKERS), attack) > 0.1
    assert digits.success(digits.federate(attack, ATTACKERS, CHAIN), attack) == 0


def turned_sevens(train):
    """Rare examples that no honest client has: sevens mirrored at the diagonal."""
    train_x, test_x, train_y, test_y = digits.split()
    x, y = (train_x, train_y) if train else (test_x, test_y)
    return x[y == 7].reshape(-1, 8, 8).transpose(1, 2).reshape(-1, 64)


@pytest.mark.parametrize(
    ("attack", "shown"),
    [
        (attacks.Backdoor(), None),
        (attacks.Backdoor(boost=3.0, mask_ratio=0.2), None),
        (attacks.DistributedBackdoor(patch=3, pieces=3), None),
        (attacks.EdgeCaseBackdoor(examples=turned_sevens(True)), turned_sevens(False)),
    ],
    ids=["patch", "patch, boosted and masked", "distributed", "edge case"],
)
def test_backdoors_succeed_under_the_mean_and_leave_the_accuracy(attack, shown, clean):
    measured = attack if shown is None else dataclasses.replace(attack, examples=shown)
    assert digits.success(clean, measured) < 0.2
    model = digits.federate(attack, ATTACKERS)
    assert digits.success(model, measured) > 0.6
    assert digits.accuracy(model) > digits.accuracy(clean) - 0.02


def test_the_tail_of_an_honest_class_is_learnt_in_part_by_model_replacement(clean):
    attack = attacks.EdgeCaseBackdoor(source=9, target=3, share=0.4, boost=3.0)
    assert digits.success(clean, attack) == 0
    assert digits.success(digits.federate(attack, ATTACKERS), attack) > 0.1
    assert digits.success(digits.federate(attack, ATTACKERS, CHAIN), attack) == 0


@pytest.mark.parametrize(
    "attack", [attacks.Backdoor(boost=3.0), attacks.DistributedBackdoor(boost=3.0)], ids=lambda attack: type(attack).__name__
)
def test_robust_rules_stop_boosted_backdoors(attack):
    assert digits.success(digits.federate(attack, ATTACKERS), attack) > 0.9
    for rule in (CHAIN, rules.Krum(f=3)):
        model = digits.federate(attack, ATTACKERS, rule)
        assert digits.success(model, attack) < 0.1
        assert digits.accuracy(model) > 0.88


def test_one_boosted_round_of_one_attacker_replaces_the_model():
    boosted = attacks.Backdoor(boost=10.0)
    once, plain = (digits.federate(attack, (0,), during=lambda round: round == 10) for attack in (boosted, attacks.Backdoor()))
    assert digits.success(once, boosted) > 0.6 > 0.2 > digits.success(plain, boosted)


# --- the success rate ------------------------------------------------------------------------------------------------


def test_attack_success_rate_counts_what_the_attacker_wants():
    x, y = images(100)
    attack = attacks.Backdoor(target=3, patch=2)

    def half_fooled(shown):
        answers = np.zeros(len(shown), dtype=int)
        answers[: len(shown) // 2] = 3
        return answers

    others = (y != 3).sum()
    assert attack_success_rate(half_fooled, attack, x, y, 10) == (others // 2) / others
    assert math.isnan(attack_success_rate(half_fooled, attack, x, np.full(100, 3), 10))
    assert math.isnan(attack_success_rate(half_fooled, attacks.DynamicLabelFlip(), x, y, 10))


def test_attack_success_rate_leaves_the_module_as_it_was():
    model = torch.nn.Sequential(torch.nn.Linear(36, 10), torch.nn.Dropout(0.9)).train()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.arange(10.0))
    assert attack_success_rate(model, attacks.Backdoor(target=9), *images(), 10) == 1.0
    assert model.training
    assert model[1].training
