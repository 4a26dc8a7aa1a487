"""Mimic's target: the paper's, and that of the authors' code."""

import numpy as np
import pytest

from flwr_byzantine import attacks
from flwr_byzantine.attacks import AttackContext

H, D = 7, 12


def rounds_of(offsets, count=24):
    rng = np.random.default_rng(5)
    return [offsets + rng.normal(size=offsets.shape) for _ in range(count)]


def targets_of(mimic, rounds):
    memory, found = {}, []
    for number, X in enumerate(rounds, 1):
        context = AttackContext(number, memory=memory)
        found.append(int(np.flatnonzero((mimic.vectors(X, 2, context)[0] == X).all(axis=1))[0]))
        memory = mimic.next_memory(X, 2, context)
    return found, memory


def test_mimic_chooses_the_row_that_differs_most():
    X = np.random.default_rng(0).normal(1.0, 2.0, (9, 30))
    X[4] += 50
    np.testing.assert_array_equal(attacks.Mimic()(X, 1)[0], X[4])


def test_mimic_warms_up_on_the_main_direction_of_all_rounds_then_keeps_its_target():
    rounds = rounds_of(np.random.default_rng(5).normal(size=(H, D)) * np.array([6.0] + [1.0] * (D - 1)))
    targets, memory = targets_of(attacks.Mimic(warmup=15), rounds)
    rows = np.concatenate(rounds[:15]) - np.mean(rounds[:15], axis=(0, 1))
    z = np.linalg.svd(rows)[2][0]
    assert abs(memory["direction"] @ z) > 0.95
    assert set(targets[15:]) == {int(np.argmax(np.abs(sum(rounds[:15]) @ z)))}
    assert int(memory["rounds"]) == 15
    assert "sums" not in memory


def test_the_papers_target_is_by_the_last_direction_and_all_rounds_of_the_warm_up():
    rng = np.random.default_rng(1)
    for _ in range(20):
        rounds = rounds_of(rng.normal(size=(H, D)), 6)
        targets, memory = targets_of(attacks.Mimic(warmup=4), rounds)
        assert targets[5] == int(np.argmax(np.abs(sum(rounds[:4]) @ memory["direction"])))


def test_epfls_target_is_by_the_sign_and_the_present_round_alone():
    offsets = np.zeros((H, D))
    offsets[2], offsets[5] = 20.0, -25.0
    rounds = rounds_of(offsets, 8)
    targets, memory = targets_of(attacks.Mimic(warmup=4, choice="epfl"), rounds)
    z = memory["direction"]
    assert targets[4:] == [int(np.argmax(rounds[3] @ z))] * 4
    assert targets[4] == (2 if z.sum() > 0 else 5)
    assert targets_of(attacks.Mimic(warmup=4), rounds)[0][4:] == [5] * 4  # the paper's looks at the length alone


@pytest.mark.parametrize("choice", ["paper", "epfl"])
def test_a_client_more_or_less_begins_the_sums_anew(choice):
    mimic, X = attacks.Mimic(choice=choice), np.random.default_rng(0).normal(size=(H, D))
    memory = mimic.next_memory(X, 1, AttackContext())
    assert mimic.vectors(X[:-2], 1, AttackContext(2, memory=memory)).shape == (1, D)
