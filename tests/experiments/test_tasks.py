"""Tasks: data and splits, partitions, and models."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flwr_byzantine import InvalidParameter
from flwr_byzantine.experiments.tasks import Task, data, training
from flwr_byzantine.experiments.tasks.client import client_app
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.experiments.tasks.partitions import partitions, similar
from flwr_byzantine.flower.local import LocalGrid


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "mist"}, "unknown dataset 'mist'; did you mean 'mnist'? choose one of: cifar-10, "),
        ({"partition": "shards"}, "unknown partition 'shards'; did you mean 'shard'? choose one of: continuous, "),
        ({"gamma": 1.5}, "gamma must be a number >= 0 and <= 1, got 1.5"),
        ({"alpha": 0.0}, "alpha must be a number > 0, got 0.0"),
        ({"num_malicious": 20}, "num_malicious must be an integer >= 0 and < 20, got 20"),
        ({"hidden": (8, 0)}, "each width in hidden must be an integer >= 1, got 0"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum is of 'sgd' only, got 0.9 with optimizer 'adam'; set it to 0"),
        ({"validation": 1.0}, "validation must be a number >= 0 and < 1, got 1.0"),
        ({"local_epochs": 0}, "local_epochs must be an integer >= 1, got 0"),
    ],
)
def test_mistakes_get_one_clear_sentence(change, message):
    with pytest.raises(InvalidParameter) as error:
        Task(**change)
    assert message in str(error.value)


def test_the_three_splits_are_disjoint_and_complete():
    whole, split = data.load(Task()), data.load(Task(validation=0.2))
    rows = [tuple(row.tolist()) for part in (split.train_x, split.validation_x) for row in part]
    assert sorted(rows) == sorted(tuple(row.tolist()) for row in whole.train_x)
    assert len(split.validation_y) == round(0.2 * len(whole.train_y))
    assert torch.equal(split.test_x, whole.test_x)
    assert len(whole.validation_y) == 0
    assert data.load(Task(validation=0.2, lr=0.5)) is split


def test_data_says_its_shape():
    found = data.load(Task())
    assert (found.shape, found.vocabulary, found.classes, tuple(found.train_x.shape)) == ((1, 8, 8), 0, 10, (1347, 64))


@pytest.mark.parametrize("options", [{"partition": "iid"}, {"alpha": 0.5}, {"partition": "sorted"}, {"partition": "gamma", "gamma": 0.3}])
def test_partitions_are_disjoint_complete_and_seeded(options):
    task = Task(validation=0.1, **options)
    parts = partitions(task)
    assert sorted(row for part in parts for row in part) == list(range(len(data.load(task).train_y)))
    assert all((a == b).all() for a, b in zip(parts, partitions(Task(validation=0.1, lr=0.5, **options)), strict=True))


def test_sorted_clients_hold_neighbouring_labels():
    task = Task(partition="sorted", num_clients=10)
    labels = data.load(task).train_y.numpy()
    parts = partitions(task)
    assert (np.diff(labels[np.concatenate(parts)]) >= 0).all()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("gamma", [0.0, 0.25, 0.6, 1.0])
def test_gamma_is_the_share_that_is_dealt_at_random(gamma):
    """With labels 0..9 sorted over 10 clients, the sorted part of client k has label k only; of the rest a tenth has."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 1000))
    parts = similar(labels, gamma, 10, np.random.default_rng(1))
    own = np.mean([np.mean(labels[part] == k) for k, part in enumerate(parts)])
    assert own == pytest.approx((1 - gamma) + gamma / 10, abs=0.03)
    assert {len(part) for part in parts} == {1000}


def test_shares_for_the_honest_lose_no_data_to_malicious_clients():
    task = Task(partition="sorted", num_clients=7, num_malicious=3, shares="honest")
    parts = partitions(task)
    honest = np.concatenate(parts[3:])
    assert sorted(honest) == list(range(len(data.load(task).train_y)))
    for k in range(3):
        assert (parts[k] == parts[3 + k]).all()
    assert len(parts) == 7


def test_attackers_with_iid_data_hold_as_many_examples_as_their_share_of_all_labels():
    task = Task(partition="sorted", num_clients=7, num_malicious=3, shares="honest")
    usual, parts = partitions(task), partitions(replace(task, attackers_data="iid"))
    assert all((mine == other).all() for mine, other in zip(parts[3:], usual[3:], strict=True))
    labels = data.load(task).train_y.numpy()
    assert [len(part) for part in parts] == [len(part) for part in usual]
    assert all(len(set(part)) == len(part) and set(labels[part]) == set(range(10)) for part in parts[:3])
    assert max(len(set(labels[part])) for part in usual) < 5
    assert set(parts[0]) != set(parts[1])
    assert partitions(replace(task, attackers_data="iid"))[0] is parts[0]


def test_too_much_heterogeneity_is_one_clear_sentence():
    with pytest.raises(InvalidParameter, match=r"1347 examples cannot be divided among 400 clients .*; raise alpha or lower num-clients"):
        partitions(Task(num_clients=400, alpha=0.1))


@pytest.mark.parametrize("name", ["mlp", "cnn", "softmax"])
def test_models_learn_and_do_not_touch_the_global_generator(name):
    task = Task(model=name, partition="iid", num_clients=1, local_epochs=3)
    before = torch.random.get_rng_state()
    net, again = model(task), model(task)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    training.train(net, task, *training.local_data(task, 0), training.randomness(task, 0, 1))
    assert training.evaluate(net, data.load(task).test_x, data.load(task).test_y)[1] > 0.8


def test_the_network_has_the_hidden_layers_asked_for():
    shapes = [tuple(value.shape) for value in model(Task(hidden=(12, 6))).parameters()]
    assert shapes == [(12, 64), (12,), (6, 12), (6,), (10, 6), (10,)]


def test_the_mean_rule_has_no_kappa():
    task = Task(method="byzantine-sgd", partition="sorted", num_clients=5, lr=0.2)
    history, _ = federate(LocalGrid(client_app(), 5), task, None, None, 3)
    assert max(history.kappa_seen) < 1e-6
