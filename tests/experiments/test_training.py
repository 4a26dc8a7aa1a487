"""Training of tasks: against plain PyTorch, from seeds, on poisoned data, and in whole federations."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ConfigRecord, RecordDict

from flwr_byzantine import attacks
from flwr_byzantine.experiments.tasks import Task, client, training
from flwr_byzantine.experiments.tasks.cache import Cache
from flwr_byzantine.experiments.tasks.client import client_app
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.experiments.tasks.model_error import ModelError
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.flower.codec import flat, pack
from flwr_byzantine.flower.compat import copy_content
from flwr_byzantine.flower.local import LocalGrid

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
