"""Data attacks through every kind of data set: what the wrapper gives is what poisoning by hand gives."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset
from torchvision.datasets import FakeData
from torchvision.transforms import ToTensor

from flwr_byzantine import attacks, errors
from flwr_byzantine.attacks.poisoning import PoisonedBatches, PoisonedDataset, poisoned
from tests.support.poisoning import by_hand, columns, every, images, likes, rng


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
