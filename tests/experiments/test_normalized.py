"""Normalisation, and attacks on data of every shape."""

import numpy as np
import pytest
import torch

from flwr_byzantine import InvalidParameter, attacks
from flwr_byzantine.experiments.datasets import DATASETS
from flwr_byzantine.experiments.sweep.cell import Cell
from flwr_byzantine.experiments.tasks import Task, data
from flwr_byzantine.experiments.tasks.poisoned import poison, triggered
from flwr_byzantine.experiments.tasks.scale import Scale, scale_of
from flwr_byzantine.experiments.tasks.sources import Raw
from flwr_byzantine.experiments.tasks.sources.raw import raw_of

POISONING = [cls for cls in attacks.available() if cls.poisons]
PATCHES = (attacks.Backdoor, attacks.DistributedBackdoor)


def colours(rows=20):
    """Images of three channels, 5 x 7, whose channels differ in mean and deviation."""
    rng = np.random.default_rng(0)
    spread = np.array([10, 50, 90]).reshape(1, 3, 1, 1)
    return np.clip(rng.normal(2 * spread + 20, spread, (rows, 3, 5, 7)), 0, 255).astype(np.uint8), np.arange(rows) % 4


@pytest.fixture
def coloured(monkeypatch):
    """A function that gives a task's data, where the data set is `colours`."""
    monkeypatch.setattr(data, "read", lambda *_: raw_of("colours", colours(), colours(12)))
    data.split.cache_clear()
    yield lambda normalize: data.load(Task(normalize=normalize, dataset="a:b"))
    data.split.cache_clear()


def test_standard_images_have_mean_zero_and_deviation_one_in_each_channel(coloured):
    plain, standard, train_only = map(coloured, ("none", "standard", "train-only"))
    channels = standard.train_x.view(20, 3, 35).transpose(0, 1).flatten(1)
    assert channels.mean(1).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert channels.std(1, correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    torch.testing.assert_close(standard.train_scale.images(standard.train_x).flatten(1), plain.train_x)
    torch.testing.assert_close(standard.test_scale.images(standard.test_x).flatten(1), plain.test_x)
    assert torch.equal(train_only.train_x, standard.train_x)
    assert torch.equal(train_only.test_x, plain.test_x)
    assert not torch.equal(standard.test_x, plain.test_x)


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [
        ("mnist", (0.1307,), (0.3081,)),
        ("fashion-mnist", (0.1307,), (0.3081,)),
        ("cifar-100", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    ],
)
def test_the_figures_of_the_papers_are_taken_where_they_have_some(name, mean, deviation):
    x = torch.zeros(1, *DATASETS[name].shape, dtype=torch.uint8)
    assert scale_of(name, Raw(x, x, x, x, 10), "standard")[0] == Scale(DATASETS[name].shape, mean, deviation)


def test_a_channel_without_deviation_is_not_stretched_and_tokens_are_not_normalised():
    x = torch.full((4, 1, 2, 2), 51, dtype=torch.uint8)
    assert scale_of("mine", Raw(x, x, x, x, 2), "standard")[0].rows(x).abs().max() < 1e-6
    with pytest.raises(
        InvalidParameter, match=r"dataset 'pydoc': normalize is for images, its examples have the shape \(32,\); set it to 'none'"
    ):
        data.load(Task(dataset="pydoc", normalize="standard"))


@pytest.mark.parametrize("normalize", ["none", "standard", "train-only"])
def test_a_patch_is_white_in_every_channel_whatever_the_model_is_shown(coloured, normalize):
    found, attack = coloured(normalize), attacks.Backdoor(target=1, patch=2, share=1.0)
    x, y = poison(found, attack, (found.train_x, found.train_y), seed=0, attacker=0)
    shown = found.train_scale.images(x)
    assert y.tolist() == [1] * 20
    patched = torch.tensor(np.arange(20) % 4 != 1)
    torch.testing.assert_close(shown[patched][..., -2:, -2:], torch.ones(15, 3, 2, 2))
    clean = coloured("none").train_scale.images(coloured("none").train_x)
    torch.testing.assert_close(shown[..., :-2, :], clean[..., :-2, :])
    x, wanted = triggered(found, attack)
    assert (wanted == 1).all()
    torch.testing.assert_close(found.test_scale.images(x)[..., -2:, -2:], torch.ones(9, 3, 2, 2))


def test_an_attack_that_asks_the_model_shows_it_rows(coloured):
    found, asked = coloured("standard"), []

    def predict(rows):
        asked.append(rows)
        return torch.zeros(len(rows), 4)

    poison(found, attacks.DynamicLabelFlip(), (found.train_x, found.train_y), seed=0, attacker=0, predict=predict)
    torch.testing.assert_close(asked[0], found.train_x)


@pytest.mark.parametrize("attack", POISONING, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("name", DATASETS)
def test_every_attack_on_data_is_tried_on_every_data_set(name, attack):
    given = {"dataset": (name, {}), "attack": (attack.__name__, {}), "num_malicious": 2, "model": "softmax"}
    if DATASETS[name].vocabulary and issubclass(attack, PATCHES):
        with pytest.raises(
            InvalidParameter, match=r"puts a patch on images, and an example here is a row of 32 values; take an attack on labels"
        ):
            Cell.of(given)
    else:
        assert Cell.of(given).config["dataset"] == name
