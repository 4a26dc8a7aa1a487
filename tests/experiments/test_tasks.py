"""Tasks: data and splits, partitions, models, and training against plain PyTorch."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ConfigRecord, RecordDict

from flwr_byzantine import InvalidParameter, attacks
from flwr_byzantine.experiments.tasks import Task, client, data, training
from flwr_byzantine.experiments.tasks.cache import Cache
from flwr_byzantine.experiments.tasks.client import client_app
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.experiments.tasks.model_error import ModelError
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.experiments.tasks.partitions import partitions, similar
from flwr_byzantine.flower.codec import flat, pack
from flwr_byzantine.flower.compat import copy_content
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


OPTIMISERS = {
    "sgd": (Task(lr=0.2), torch.optim.SGD, {"lr": 0.2}),
    "momentum and decay": (Task(momentum=0.9, weight_decay=0.01), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "decay": (Task(weight_decay=0.1), torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.1}),
    "adam": (Task(optimizer="adam", lr=0.01, weight_decay=0.01), torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.01}),
    "another": (Task(optimizer="rmsprop", lr=0.01), torch.optim.RMSprop, {"lr": 0.01}),
    "softmax": (Task(model="softmax", batch_size=7), torch.optim.SGD, {"lr": 0.1}),
    "many layers": (Task(hidden=(9, 1, 5), batch_size=5, lr=0.5), torch.optim.SGD, {"lr": 0.5}),
    "one example": (Task(hidden=(3,), batch_size=1, local_epochs=1), torch.optim.SGD, {"lr": 0.1}),
    "diverging": (Task(lr=1e4), torch.optim.SGD, {"lr": 1e4}),
    "cnn": (Task(model="cnn", local_epochs=1), torch.optim.SGD, {"lr": 0.1}),
}


@pytest.mark.parametrize("case", OPTIMISERS)
def test_training_is_a_plain_loop_bit_for_bit(case):
    task, cls, options = OPTIMISERS[case]
    x, y = training.local_data(task, 0)
    ours, plain = model(task), model(task)
    loss = training.train(ours, task, x, y, training.randomness(task, 0, 3))
    fused = {"fused": True} if cls is not torch.optim.RMSprop and task.model != "cnn" else {}
    generator, optimizer, losses = training.randomness(task, 0, 3), cls(plain.parameters(), **options, **fused), []
    for _ in range(task.local_epochs):
        for rows in torch.randperm(len(x), generator=generator).split(task.batch_size):
            optimizer.zero_grad()
            value = torch.nn.functional.cross_entropy(plain(x[rows]), y[rows])
            value.backward()
            optimizer.step()
            losses.append(value.item())
    assert _bits(ours) == _bits(plain)
    assert loss == pytest.approx(np.mean(losses), rel=1e-5, nan_ok=True)


def _bits(net):
    return [value.detach().numpy().tobytes() for value in net.parameters()]


@pytest.mark.parametrize(
    ("steps", "count", "sizes"), [(3, 10, [4, 4, 2]), (5, 10, [4, 4, 2, 4, 4]), (1, 10, [4]), (0, 10, [4, 4, 2, 4, 4, 2])]
)
def test_local_steps_count_batches(steps, count, sizes):
    task = Task(local_steps=steps, local_epochs=2, batch_size=4)
    found = list(training.batches(task, count, torch.Generator().manual_seed(0)))
    assert [len(places) for places in found] == sizes
    first = torch.cat(found[:3]).tolist()
    assert len(set(first)) == len(first) == min(count, sum(sizes))


def test_weight_decay_enters_the_gradient_that_is_sent():
    task = Task(method="byzantine-sgd", weight_decay=0.5)
    net = model(task)
    x, y = training.local_data(task, 0)
    plain = torch.autograd.grad(torch.nn.functional.cross_entropy(net(x), y), list(net.parameters()))
    decayed = torch.autograd.grad(training.objective(task)(net, (x, y)), list(net.parameters()))
    for gradient, with_decay, weight in zip(plain, decayed, net.parameters(), strict=True):
        torch.testing.assert_close(with_decay, gradient + 0.5 * weight)


def test_seeds_are_the_same_in_another_process():
    code = "from flwr_byzantine.experiments.tasks import Task, training; print(training.randomness(Task(seed=3), 5, 7).initial_seed())"
    environment = {"PYTHONHASHSEED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2], check=True
    )
    assert int(done.stdout) == training.randomness(Task(seed=3), 5, 7).initial_seed()


def test_data_are_poisoned_once_as_long_as_attack_seed_and_data_stay(monkeypatch):
    made, make = [], client._poisoned
    monkeypatch.setattr(client, "_poisoned", lambda *args: made.append(args) or make(*args))
    monkeypatch.setattr(client, "_POISONED", Cache(size=3))

    def examples(task, number, attack):
        config = {**client.config_of(task, attack), "server-round": 1}
        return client.examples(task, number, client.mounted(task, number, config))

    task, flip = Task(num_clients=4, num_malicious=2), attacks.LabelFlip()
    first = examples(task, 0, flip)
    assert examples(replace(task, lr=0.5), 0, flip) is first
    examples(task, 1, flip)
    assert examples(task, 2, flip) is training.local_data(task, 2)
    assert len(made) == 2
    for other, attack in (
        (replace(task, seed=1), flip),
        (task, attacks.Backdoor(target=2)),
        (replace(task, alpha=5.0), attacks.Backdoor(target=2)),
    ):
        x, y = examples(other, 0, attack)
        expected = attack.poison(*training.local_data(other, 0), 10, np.random.default_rng([other.seed, 0]), attacker=0)
        assert torch.equal(x, expected[0])
        assert torch.equal(y, expected[1])
    assert len(made) == 5


def test_the_harm_of_a_model_is_its_error_rate_whatever_its_scale():
    task = Task(model="softmax", num_clients=2, local_epochs=20, lr=0.5)
    harm = ModelError(task)
    good = flat(federate(LocalGrid(client_app(), 2), task, None, None, 3)[1])
    assert harm(good, 0.0 * good) < 0.1 < 0.8 < harm(0.0 * good, 0.0 * good)
    assert harm(good, 999.0 * good) < harm(good, 0.0 * good) + 2e-3
    assert harm(good, np.full(len(good), np.nan)) > 0.8
    assert ModelError(replace(task, method="byzantine-sgd"))(0.0 * good, -good / task.lr) == pytest.approx(harm(0.0 * good, good))


def test_only_malicious_clients_train_on_poisoned_data():
    """Under label flips the honest clients' models are what they are without, the malicious ones' are not."""
    task = Task(partition="iid", num_clients=3, num_malicious=1, local_epochs=1)
    sent = {}
    for attack in (None, attacks.get("label-flip")()):
        grid = Recorder(LocalGrid(client_app(), 3))
        federate(grid, task, None, attack, rounds=1)
        sent[attack is None] = grid.models
    changed = [bool(np.abs(sent[True][k] - sent[False][k]).max() > 1e-4) for k in range(3)]
    assert changed == [True, False, False]


class Recorder:
    def __init__(self, grid):
        self.grid, self.models = grid, {}

    def __getattr__(self, name):
        return getattr(self.grid, name)

    def send_and_receive(self, messages, *, timeout=None):
        replies = list(self.grid.send_and_receive(messages, timeout=timeout))
        for reply in replies:
            arrays = [array.numpy().ravel() for array in reply.content["arrays"].values()]
            self.models[reply.content["metrics"]["partition-id"]] = np.concatenate(arrays)
        return replies


@pytest.mark.parametrize("method", ["local-sgd", "byzantine-sgd"])
def test_a_federation_learns_and_is_the_same_again(method):
    task = Task(
        partition="gamma", gamma=0.5, num_clients=5, method=method, momentum=0.5, lr=0.3, local_epochs=2, batch_size=64, validation=0.1
    )
    rounds = 5 if method == "local-sgd" else 30
    histories = [federate(LocalGrid(client_app(), 5), task, None, None, rounds)[0] for _ in range(2)]
    assert histories[0].accuracy == histories[1].accuracy
    assert histories[0].kappa_seen == histories[1].kappa_seen
    assert histories[0].accuracy[0] < 0.2
    assert histories[0].final()["accuracy"] > 0.6
    assert len(histories[0].validation_accuracy) == rounds + 1


def test_the_mean_rule_has_no_kappa():
    task = Task(method="byzantine-sgd", partition="sorted", num_clients=5, lr=0.2)
    history, _ = federate(LocalGrid(client_app(), 5), task, None, None, 3)
    assert max(history.kappa_seen) < 1e-6


def test_a_twin_is_a_deep_copy_of_what_a_client_can_change():
    old = RecordDict({"arrays": pack({"w": np.ones(2)}), "config": ConfigRecord({"widths": [1, 2], "lr": 0.1})})
    new = copy_content(old)
    assert new == old
    new["arrays"]["w"].data = b""
    new["arrays"]["v"] = Array(np.zeros(1))
    new["config"]["widths"].append(3)
    new["more"] = ConfigRecord({})
    assert list(old) == ["arrays", "config"]
    assert list(old["arrays"]) == ["w"]
    assert old["arrays"]["w"].numpy().tolist() == [1.0, 1.0]
    assert old["config"]["widths"] == [1, 2]
