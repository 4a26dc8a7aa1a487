"""Data attacks: what they do to examples and updates, by hand and through every kind of data set, and to a model that learns."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset
from torchvision.datasets import FakeData
from torchvision.transforms import ToTensor

from flwr_byzantine import attacks, errors, rules
from flwr_byzantine.attacks.base import AttackContext
from flwr_byzantine.attacks.poisoning import PoisonedBatches, PoisonedDataset, attack_success_rate, poisoned
from tests.support import digits
from tests.support.devices import each_device

ATTACKERS = (0, 1, 2)
CHAIN = rules.chain(rules.NNM(f=3), rules.TrimmedMean(f=3))


def images(n=40, side=6, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    return (0.9 * rng.random((n, side * side))).astype(np.float32), rng.integers(0, classes, n)


def rng(*seed):
    return np.random.default_rng(list(seed) or 0)


def likes(x):
    """A model: scores by fixed random weights."""
    return np.asarray(x).reshape(len(x), -1) @ np.random.default_rng(9).normal(size=(math.prod(x.shape[1:]), 10))


every = pytest.mark.parametrize(
    "attack",
    [
        attacks.LabelFlip(),
        attacks.LabelFlip(pairs={5: 3, 1: 7}, share=0.5),
        attacks.DynamicLabelFlip(share=0.7),
        attacks.Backdoor(target=2, position="top-right"),
        attacks.DistributedBackdoor(target=2, patch=2, share=0.4),
        attacks.EdgeCaseBackdoor(source=7, target=1, share=0.5),
        attacks.EdgeCaseBackdoor(target=1, examples=images(5, seed=3)[0]),
        attacks.AlternatingMinimization(share=0.5),
        attacks.BackdoorCriticalLayers(target=2),
        attacks.ThreeDFed(target=2),
    ],
    ids=lambda attack: type(attack).__name__ + ("" if getattr(attack, "examples", None) is None else "-examples"),
)


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


# --- every kind of data set ------------------------------------------------------------------------------------------


def by_hand(attack, x, y, seed=0, attacker=0):
    return attack.poison(x, y, 10, rng(seed, attacker), attacker=attacker, predict=likes)


def columns(view):
    pairs = list(view)
    return np.stack([np.asarray(x) for x, *_ in pairs]), np.array([int(y) for _, y, *_ in pairs])


@every
@pytest.mark.parametrize("attacker", [0, 2])
def test_the_wrapper_equals_poisoning_by_hand(attack, attacker):
    x, y = images()
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    expected = by_hand(attack, x, y, 5, attacker)

    def make(data):
        return poisoned(data, attack, 10, seed=5, attacker=attacker, predict=likes)

    views = [
        make((x, y)),
        make((tx, ty)),
        make(TensorDataset(tx, ty)).tensors,
        columns(make(list(zip(x, y.tolist(), strict=True)))),
        columns(make(Subset(TensorDataset(tx, ty), range(40)))),
        columns(make(DataLoader(TensorDataset(tx, ty), batch_size=None))),
        [torch.cat(part) for part in zip(*make(DataLoader(Subset(TensorDataset(tx, ty), range(40)), batch_size=16)), strict=True)],
    ]
    for view in views:
        for found, wanted in zip(view, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(x, images()[0])
    np.testing.assert_array_equal(y, images()[1])


def test_a_map_style_view_reads_like_the_original():
    data = [(np.full(4, i), np.int16(i), f"name {i}") for i in range(10)]
    view = poisoned(data, attacks.LabelFlip(pairs={2: 3}), 10)
    assert isinstance(view, PoisonedDataset)
    assert len(view) == 10
    assert [item[1] for item in view] == [0, 1, 3, 3, 4, 5, 6, 7, 8, 9]
    assert view[2][1:] == view[-8][1:] == (3, "name 2")
    assert type(view[2][1]) is np.int16
    with pytest.raises(IndexError):
        view[10]
    assert len(poisoned([], attacks.LabelFlip(), 10)) == 0


def test_torchvision_data_with_a_transform():
    data = FakeData(20, (3, 8, 8), num_classes=10, transform=ToTensor(), random_offset=1)
    attack = attacks.Backdoor(target=4, share=1.0, value=0.0)
    view = poisoned(data, attack, 10)
    for (x, y), (new_x, new_y) in zip((data[i] for i in range(20)), view, strict=True):
        assert new_y == 4
        assert (y == 4 and torch.equal(x, new_x)) or (torch.count_nonzero(new_x[:, 5:, 5:]) == 0 and torch.equal(new_x[:, :5], x[:, :5]))
    with pytest.raises(errors.InvalidParameter, match="give the dataset a transform to tensors"):
        poisoned(FakeData(5, (3, 8, 8), num_classes=10), attack, 10)


def test_mappings_as_in_flwr_datasets():
    data = [{"image": np.zeros((4, 4)), "label": i, "id": i} for i in range(10)]
    view = poisoned(data, attacks.LabelFlip(), 10, keys=("image", "label"))
    assert [(item["label"], item["id"]) for item in view] == [(9 - i, i) for i in range(10)]
    loader = poisoned(DataLoader(data, batch_size=5), attacks.LabelFlip(), 10, keys=("image", "label"))
    assert [batch["label"].tolist() for batch in loader] == [[9, 8, 7, 6, 5], [4, 3, 2, 1, 0]]
    with pytest.raises(errors.InvalidParameter, match="name x and y by keys="):
        poisoned(data, attacks.LabelFlip(), 10)


def test_a_data_loader_keeps_its_sampler_batches_and_collate_function():
    x, y = (torch.from_numpy(part) for part in images())

    def loader(**options):
        return DataLoader(TensorDataset(x, y), generator=torch.Generator().manual_seed(3), **options)

    def pairs(items):
        return torch.stack([item[0] for item in items]), torch.tensor([item[1] for item in items]).float()

    for options in ({"batch_size": 7, "shuffle": True, "drop_last": True, "collate_fn": pairs}, {"batch_sampler": [[3, 1], [0, 39]]}):
        view = poisoned(loader(**options), attacks.LabelFlip(), 10)
        assert isinstance(view, DataLoader)
        assert (view.batch_size, view.drop_last, len(view.dataset)) == (loader(**options).batch_size, "drop_last" in options, 40)
        for (new_x, new_y), (old_x, old_y) in zip(view, loader(**options), strict=True):
            assert torch.equal(new_x, old_x)
            assert torch.equal(new_y, 9 - old_y)
    clean = loader(batch_size=40)
    poisoned(clean, attacks.LabelFlip(), 10)
    assert torch.equal(next(iter(clean))[1], y)


def test_a_data_loader_with_worker_processes():
    x, y = (torch.from_numpy(part) for part in images())
    view = poisoned(DataLoader(TensorDataset(x, y), batch_size=20, num_workers=1), attacks.LabelFlip(), 10)
    assert torch.equal(torch.cat([labels for _, labels in view]), 9 - y)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(*images(), strict=True))


def test_other_iterables_are_poisoned_batch_by_batch_alike_in_each_pass():
    attack = attacks.Backdoor(target=2, patch=1, share=0.5)
    x, y = images()
    batches = [(x[:20], y[:20]), (x[20:], y[20:])]
    view = poisoned(batches, attack, 10, seed=6)
    assert isinstance(view, PoisonedBatches)
    for _ in range(2):
        for i, (new_x, new_y) in enumerate(view):
            expected = attack.poison(*batches[i], 10, rng(6, 0, i))
            np.testing.assert_array_equal(new_x, expected[0])
            np.testing.assert_array_equal(new_y, expected[1])
            np.testing.assert_array_equal(view[i][1], expected[1])
    assert len(view) == 2
    assert view.index == batches.index
    streamed = [label for _, label in poisoned(Stream(), attacks.LabelFlip(), 10)]
    assert streamed == (9 - y).tolist()
    loaded = torch.cat([labels for _, labels in poisoned(DataLoader(Stream(), batch_size=8), attacks.LabelFlip(), 10)])
    np.testing.assert_array_equal(loaded, 9 - y)


def test_attacks_on_updates_only_leave_the_data_as_it_is():
    data = images()
    assert poisoned(data, attacks.SignFlip(), 10) is data


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
