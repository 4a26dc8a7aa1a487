"""Data attacks: what they do to examples and to updates, by hand."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from flwr_byzantine import attacks, errors
from flwr_byzantine.attacks.base import AttackContext
from flwr_byzantine.attacks.poisoning import attack_success_rate, poisoned
from tests.support.devices import each_device
from tests.support.poisoning import every, images, likes, rng

# --- what is done to the examples ------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("tensors", [False, True], ids=["numpy", "torch"])
def test_same_seed_same_poison_originals_untouched_kind_kept(attack, tensors):
    x, y = images()
    x, y = (torch.from_numpy(x), torch.from_numpy(y)) if tensors else (x, y)
    kept_x, kept_y = (x.clone(), y.clone()) if tensors else (x.copy(), y.copy())
    one, two, other = (attack.poison(x, y, 10, rng(seed), predict=likes) for seed in (1, 1, 2))
    for part, again, given, kept in zip(one, two, (x, y), (kept_x, kept_y), strict=True):
        np.testing.assert_array_equal(part, again)
        np.testing.assert_array_equal(given, kept)
        assert (type(part), part.dtype, part.shape) == (type(given), given.dtype, given.shape)
    assert not np.array_equal(one[1], y)
    if attack.share < 1 and not isinstance(attack, attacks.EdgeCaseBackdoor):
        assert not np.array_equal(one[1], other[1])


@every
@each_device
def test_examples_that_lie_on_a_device_are_poisoned_there(attack, device):
    x, y = (torch.from_numpy(part) for part in images())
    made = poisoned((x.to(device), y.to(device)), attack, 10, predict=lambda shown: likes(shown.cpu()))
    for part, expected in zip(made, poisoned((x, y), attack, 10, predict=likes), strict=True):
        assert part.device.type == device
        assert torch.equal(part.cpu(), expected)
    if not attack.asks_model:
        model = torch.nn.Linear(36, 10).to(device)
        rates = [attack_success_rate(model, attack, x.to(where), y.to(where), 10) for where in (device, "cpu")]
        assert rates[0] == rates[1]


@every
def test_every_data_attack_is_found_and_callable_as_an_attack_on_updates(attack):
    assert type(attack) in attacks.available()
    assert (attack.knowledge, attack.poisons) == ("own", True)
    honest = rng(4).normal(size=(5, 8))
    np.testing.assert_array_equal(attack(honest, 3), honest[:3])


def test_parameters_survive_json_as_sweeps_and_messages_send_them():
    for attack in (
        attacks.LabelFlip(pairs={5: 3}),
        attacks.Backdoor(position=(1, 2), shape=(1, 6, 6)),
        attacks.DistributedBackdoor(pieces=2),
    ):
        options = {item.name: getattr(attack, item.name) for item in dataclasses.fields(attack)}
        assert type(attack)(**json.loads(json.dumps(options))) == attack


def test_label_flip_by_hand():
    x, y = images()
    np.testing.assert_array_equal(attacks.LabelFlip().poison(x, y, 10, rng())[1], 9 - y)
    turned = attacks.LabelFlip(pairs={5: 3, 3: 5}).poison(x, y, 10, rng())[1]
    assert turned.tolist() == [{5: 3, 3: 5}.get(label, label) for label in y.tolist()]
    half = attacks.LabelFlip(share=0.5).poison(x, y, 10, rng())[1]
    assert (half != y).sum() == 20
    shown, wanted = attacks.LabelFlip(pairs=[[5, 3]]).triggered(x, y, 10)
    np.testing.assert_array_equal(shown, x[y == 5])
    assert set(wanted.tolist()) == {3}
    middle = attacks.LabelFlip().triggered(np.zeros((3, 1)), np.array([0, 1, 2]), 3)
    assert middle[1].tolist() == [2, 0]


def test_dynamic_flip_by_hand():
    x, y = images()
    expected = [min((c for c in range(10) if c != label), key=lambda c: row[c]) for row, label in zip(likes(x), y, strict=True)]
    assert attacks.DynamicLabelFlip().poison(x, y, 10, rng(), predict=likes)[1].tolist() == expected
    assert len(attacks.DynamicLabelFlip().triggered(x, y, 10)[1]) == 0


@pytest.mark.parametrize(
    ("position", "rows", "columns"),
    [
        ("top-left", (0, 2), (0, 2)),
        ("top-right", (0, 2), (5, 7)),
        ("center", (1, 3), (2, 4)),
        ("bottom-left", (3, 5), (0, 2)),
        ("bottom-right", (3, 5), (5, 7)),
        ((2, 4), (2, 4), (4, 6)),
    ],
)
def test_the_patch_lies_where_it_is_said_to_in_every_layout(position, rows, columns):
    expected = np.zeros((5, 7))
    expected[slice(*rows), slice(*columns)] = 0.5
    attack = attacks.Backdoor(patch=2, position=position, value=0.5)
    np.testing.assert_array_equal(attack.trigger(np.zeros((3, 5, 7))), np.stack([expected] * 3))
    np.testing.assert_array_equal(attack.trigger(torch.zeros(2, 3, 5, 7)), np.stack([[expected] * 3] * 2))
    flat = dataclasses.replace(attack, shape=(3, 5, 7)).trigger(np.zeros((2, 105)))
    np.testing.assert_array_equal(flat.reshape(2, 3, 5, 7), np.stack([[expected] * 3] * 2))
    assert attack.trigger(np.zeros((2, 5, 7))[:, ::-1]).shape == (2, 5, 7)


def test_backdoor_stamps_its_share_of_the_other_classes_and_nothing_else():
    x, y = images(200)
    attack = attacks.Backdoor(target=2, patch=2, share=0.25)
    new_x, new_y = attack.poison(x, y, 10, rng())
    changed = np.flatnonzero((new_x != x).any(axis=1))
    assert len(changed) in {math.floor(0.25 * (y != 2).sum()), math.ceil(0.25 * (y != 2).sum())}
    assert set(new_y[changed]) == {2}
    assert 2 not in set(y[changed])
    by_hand = x[changed].reshape(-1, 6, 6).copy()
    by_hand[:, 4:, 4:] = 1.0
    np.testing.assert_array_equal(new_x[changed], by_hand.reshape(-1, 36))
    rest = np.setdiff1d(np.arange(200), changed)
    np.testing.assert_array_equal(new_y[rest], y[rest])
    shown, wanted = attack.triggered(x, y, 10)
    assert len(shown) == (y != 2).sum()
    assert set(wanted) == {2}
    np.testing.assert_array_equal(shown.reshape(-1, 6, 6)[:, 4:, 4:], 1.0)


def test_distributed_parts_are_disjoint_and_unite_to_the_whole_trigger():
    attack = attacks.DistributedBackdoor(patch=3, pieces=4, share=1.0)
    x, y = np.zeros((5, 6, 6)), np.full(5, 3)
    marks = [attack.poison(x, y, 10, rng(), attacker=i)[0] for i in range(5)]
    np.testing.assert_array_equal(sum(marks[:4]), attack.trigger(x))
    np.testing.assert_array_equal(marks[4], marks[0])
    assert all(1 <= mark[0].sum() <= 3 for mark in marks)
    np.testing.assert_array_equal(attack.triggered(x, y, 10)[0], attack.trigger(x))


def test_edge_case_takes_the_tail_or_the_given_examples():
    x, y = images(100)
    attack = attacks.EdgeCaseBackdoor(source=4, target=1, share=0.3)
    members = [i for i in range(100) if y[i] == 4]
    mean = sum(x[i].astype(float) for i in members) / len(members)
    far = sorted(members, key=lambda i: -math.dist(x[i], mean))[: round(0.3 * len(members))]
    new_x, new_y = attack.poison(x, y, 10, rng())
    np.testing.assert_array_equal(new_x, x)
    assert np.flatnonzero(new_y != y).tolist() == sorted(far)
    np.testing.assert_array_equal(attack.triggered(x, y, 10)[0], x[sorted(far)])

    rare = images(5, seed=8)[0]
    given = attacks.EdgeCaseBackdoor(target=1, share=0.5, examples=rare)
    new_x, new_y = given.poison(x, y, 10, rng())
    changed = np.flatnonzero((new_x != x).any(axis=1))
    np.testing.assert_array_equal(new_x[changed], rare)
    assert set(new_y[changed]) == {1}
    assert 1 not in set(y[changed])
    np.testing.assert_array_equal(given.triggered(x, y, 10)[0], rare)


# --- what is done to the update --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [attacks.Backdoor, attacks.DistributedBackdoor, attacks.EdgeCaseBackdoor])
def test_mask_leaves_the_coordinates_that_moved_most_and_boost_scales_the_rest(cls):
    update, previous = rng(1).normal(size=103), rng(2).normal(size=103)
    sent = cls(boost=4.0, mask_ratio=0.3).malicious_update(update, AttackContext(previous=previous))
    moved_most = sorted(range(103), key=lambda i: -abs(previous[i]))[:30]
    assert np.flatnonzero(sent == 0).tolist() == sorted(moved_most)
    np.testing.assert_array_equal(np.delete(sent, moved_most), np.delete(4.0 * update, moved_most))
    np.testing.assert_array_equal(cls(mask_ratio=0.3).malicious_update(update, AttackContext()), update)
    np.testing.assert_array_equal(cls(boost=4.0)(update[None], 2), 4.0 * np.stack([update, update]))


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y: attacks.LabelFlip(pairs={3: 3}), "pairs must hold pairs .source, target. of two different class numbers, got .3, 3."),
        (lambda x, y: attacks.LabelFlip(pairs=[(1, 2), (1, 3)]), "must name each source once"),
        (lambda x, y: attacks.LabelFlip(pairs=5), "pairs must hold pairs"),
        (lambda x, y: attacks.LabelFlip(share=0), "LabelFlip: share must be a number > 0 and <= 1, got 0"),
        (
            lambda x, y: attacks.LabelFlip(pairs={1: 12}).poison(x, y, 10, rng()),
            "a class in pairs must be an integer >= 0 and < 10, got 12",
        ),
        (lambda x, y: attacks.LabelFlip().poison(x, y, 5, rng()), "labels must be in 0 .. 4, got 0 .. 9; check num_classes"),
        (lambda x, y: attacks.LabelFlip().poison(x, y[:3], 10, rng()), "y must be a vector of 40 integer labels, one an example"),
        (lambda x, y: attacks.LabelFlip().poison(x, y / 2, 10, rng()), "integer labels, one an example, got float64"),
        (lambda x, y: attacks.LabelFlip().poison(x, y, 1, rng()), "num_classes must be an integer >= 2, got 1"),
        (lambda x, y: attacks.DynamicLabelFlip().poison(x, y, 10, rng()), "needs the current model; pass predict="),
        (lambda x, y: attacks.DynamicLabelFlip().poison(x, y, 10, rng(), predict=len), "scores of shape .40, 10., got"),
        (lambda x, y: attacks.Backdoor(target=12).poison(x, y, 10, rng()), "target must be an integer >= 0 and < 10, got 12"),
        (lambda x, y: attacks.Backdoor(patch=7).trigger(x), "a patch of side 7 at bottom-right does not fit images of 6 x 6"),
        (lambda x, y: attacks.Backdoor(position=(5, 0)).trigger(x), "at .5, 0. does not fit"),
        (lambda x, y: attacks.Backdoor(position="middle"), "position must be one of top-left, .* or .row, column., got 'middle'"),
        (lambda x, y: attacks.Backdoor(position=(1,)), "position must be .* 2 integers >= 0, got .1,."),
        (lambda x, y: attacks.Backdoor(shape=(6,)), "shape must be 2 or 3 integers >= 1"),
        (lambda x, y: attacks.Backdoor(shape=(5, 5)).trigger(x), "shape .5, 5. does not describe examples of shape .36,."),
        (lambda x, y: attacks.Backdoor().trigger(x[:, :35]), "no square images; pass shape="),
        (lambda x, y: attacks.Backdoor(mask_ratio=1.0), "mask_ratio must be a number >= 0 and < 1, got 1.0"),
        (
            lambda x, y: attacks.Backdoor(mask_ratio=0.5).malicious_update(np.zeros(3), AttackContext(previous=np.zeros(4))),
            "4 coordinates, the update 3",
        ),
        (lambda x, y: attacks.DistributedBackdoor(patch=1, pieces=2), "pieces must be at most the 1 pixels"),
        (lambda x, y: attacks.EdgeCaseBackdoor(source=1, target=1), "source and target must be different classes, got 1 for both"),
        (lambda x, y: attacks.EdgeCaseBackdoor(source=11).poison(x, y, 10, rng()), "source must be an integer >= 0 and < 10"),
        (lambda x, y: attacks.EdgeCaseBackdoor(examples=x[:, :4]).poison(x, y, 10, rng()), "shaped as the data's .36,., got .4,."),
        (lambda x, y: attacks.EdgeCaseBackdoor(examples=x[:0]), "one example at least"),
        (lambda x, y: poisoned((x, y), attacks.LabelFlip, 10), "poisoned needs an attack"),
        (lambda x, y: poisoned((x, y), attacks.LabelFlip(), 10, seed=-1), "poisoned: seed must be an integer >= 0, got -1"),
        (lambda x, y: poisoned(3, attacks.LabelFlip(), 10), "got int"),
        (lambda x, y: poisoned(list(x), attacks.LabelFlip(), 10), "examples must be pairs .x, y."),
        (lambda x, y: attack_success_rate(likes, attacks.SignFlip(), x, y, 10), "needs an attack on data"),
    ],
)
def test_mistakes_get_one_clear_sentence(make, message):
    with pytest.raises(errors.ByzantineError, match=message) as caught:
        make(*images())
    assert "\n" not in str(caught.value)


def test_images_with_channels_last_are_refused_and_not_stamped_across_them():
    images = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(errors.InvalidParameter, match="seem to have channels last; transpose them"):
        poisoned((images, np.array([1, 2])), attacks.Backdoor(target=0, patch=2, share=1.0), 3)
    bad, _ = poisoned((images.transpose(0, 3, 1, 2), np.array([1, 2])), attacks.Backdoor(target=0, patch=2, share=1.0), 3)
    assert set(zip(*np.nonzero(bad[0].max(0)), strict=True)) == {(row, column) for row in (6, 7) for column in (6, 7)}
