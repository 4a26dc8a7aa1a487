"""3DFed's half on updates: indicators that are read back, masks that cancel, decoys, and what they learn from."""

import numpy as np
import pytest

from flwr_byzantine.attacks import AttackContext, ThreeDFed
from flwr_byzantine.attacks.threedfed import noise_masks, output_neurons

LAYOUT = {"hidden.weight": (4, 3), "hidden.bias": (4,), "out.weight": (10, 4), "out.bias": (10,)}
D, OUT = 66, slice(16, 56)
STEP = np.random.default_rng(0).normal(size=D)
UPDATE = np.random.default_rng(1).normal(size=D)


def contexts(round=2, step=STEP, memories=({},) * 4):
    return [AttackContext(round, step, memory=memory, attacker=who, layout=LAYOUT) for who, memory in enumerate(memories)]


def play(attack, round=2, step=STEP, memories=({},) * 4):
    """What four attackers send of the same update, and what they note."""
    now = contexts(round, step, memories)
    return [attack.malicious_update(UPDATE, one) for one in now], [attack.next_memory(UPDATE[None], 1, one) for one in now]


def answered(notes, share, round=3):
    """The next round, in which each attacker's indicator came back with this share of its value."""
    step = STEP.copy()
    for note in notes:
        step[int(note["index"])] = share * note["value"]
    return play(ThreeDFed(decoys=1), round, step, notes)


def test_in_the_first_round_the_trained_update_is_sent():
    np.testing.assert_array_equal(ThreeDFed(boost=2.0).malicious_update(UPDATE, AttackContext()), 2 * UPDATE)


def test_each_attacker_marks_its_own_quiet_coordinate_with_a_value_of_known_size():
    sent, notes = play(ThreeDFed())
    quiet = sorted(range(D), key=lambda k: abs(STEP[k]))
    assert [int(note["index"]) for note in notes] == quiet[:4]
    size = (sum(value**2 for value in STEP) / D) ** 0.5
    for row, note in zip(sent, notes, strict=True):
        assert row[int(note["index"])] == pytest.approx(3 * size)


def test_masks_cancel_over_the_attackers_and_lie_on_output_neurons_other_than_the_targets():
    attack = ThreeDFed(target=2)
    sent, notes = play(attack)
    marked = [int(note["index"]) for note in notes]
    noise = np.array(sent) - UPDATE
    noise[np.arange(4), marked] = 0.0
    rest = [k for k in range(D) if k not in marked]
    np.testing.assert_allclose(noise.sum(axis=0)[rest], 0.0, atol=1e-9)
    touched = np.flatnonzero(np.abs(noise).max(axis=0))
    assert set(touched) <= set(range(*OUT.indices(D)))
    neurons = sorted({(k - 16) // 4 for k in touched})
    assert len(neurons) == 8
    assert 2 not in neurons
    assert np.linalg.norm(noise[0] - noise[1]) > 0.1
    np.testing.assert_array_equal(ThreeDFed().malicious_update(UPDATE, AttackContext(2, STEP)) == UPDATE, np.arange(D) != marked[0])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_masks_lower_the_papers_loss_from_their_random_start(alpha):
    rows, rng = np.random.default_rng(3).normal(size=(6, 20)), np.random.default_rng(4)
    start = np.random.default_rng(4).normal(size=(3, 6, 20))
    start -= start.mean(axis=0)
    size = (rows**2).mean() ** 0.5

    def loss(noise):
        total = 0.0
        for mask in noise:
            busy = sum(20 / np.abs(rows[j] / size + mask[j]).sum() for j in range(6))
            total += alpha * busy + (1 - alpha) * np.linalg.norm(mask)
        return total

    found = noise_masks(rows, 3, alpha, rng) / size
    np.testing.assert_allclose(found.sum(axis=0), 0.0, atol=1e-9)
    assert loss(found) < loss(start) - 0.01


@pytest.mark.parametrize(("share", "kept"), [(0.05, True), (0.0, False), (1e-4, False)])
def test_who_was_rejected_draws_alpha_anew_and_the_last_attacker_becomes_a_decoy(share, kept):
    _, notes = play(ThreeDFed())
    assert len({float(note["alpha"]) for note in notes}) == 1
    sent, later = answered(notes, share)
    assert [bool(note["decoy"]) for note in later] == [False, False, False, not kept]
    assert all((float(new["alpha"]) == float(old["alpha"])) == kept for new, old in zip(later, notes, strict=True))
    assert len({float(note["alpha"]) for note in later}) == 1
    far = np.abs(sent[3]).max() > 0.99 * np.linalg.norm(STEP)
    assert far == (not kept)
    if not kept:
        np.testing.assert_array_less(np.linalg.norm(sent[3]), 2 * np.linalg.norm(STEP))
        _, accepted = answered(later, 0.05, round=4)
        assert not accepted[3]["decoy"]


def test_a_clipped_indicator_makes_a_decoy_and_keeps_alpha():
    _, notes = play(ThreeDFed())
    _, accepted = answered(notes, 0.1)
    _, clipped = answered(accepted, 0.05, round=4)
    assert [bool(note["decoy"]) for note in clipped] == [False, False, False, True]
    assert [note["alpha"] for note in clipped] == [note["alpha"] for note in accepted]
    assert float(clipped[0]["most"]) == pytest.approx(0.1)


@pytest.mark.parametrize("share", [1.5, -0.2])
def test_noise_of_the_server_ends_the_tuning_for_good(share):
    _, notes = play(ThreeDFed())
    _, noisy = answered(notes, share)
    assert all(note["noisy"] and float(note["alpha"]) == 0.0 for note in noisy)
    _, later = answered(noisy, 0.0, round=4)
    assert all(note["noisy"] and float(note["alpha"]) == 0.0 and not note["decoy"] for note in later)


def test_the_output_layer_is_the_last_array_with_two_axes():
    np.testing.assert_array_equal(output_neurons(LAYOUT).ravel(), np.arange(16, 56))
    assert output_neurons({"conv": (2, 3, 5), "bias": (2,)}).shape == (2, 15)
    assert output_neurons({"bias": (2,)}).size == output_neurons({}).size == 0
