"""Models of one's own, "module:function", and what batch norm needs."""

import re

import numpy as np
import pytest
import torch

from flwr_byzantine import rules
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.sweep import read
from flwr_byzantine.experiments.tasks import Task, training
from flwr_byzantine.experiments.tasks.client import client_app
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.experiments.tasks.model_error import ModelError
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.flower.codec import flat
from flwr_byzantine.flower.local import LocalGrid
from tests.support.sweeps import write

OWN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.conv, self.norm, self.dropout = nn.Conv2d(shape[0], 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.out = nn.Linear(4 * (shape[1] - 2) * (shape[2] - 2), classes)

    def forward(self, x):
        x = self.norm(self.conv(x))
        return self.out(self.dropout(torch.relu(x).view(len(x), -1)))


def normed(shape, classes):
    return Net(shape, classes)


def lazy(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))


def nothing(shape, classes):
    return None


def broken(shape, classes):
    raise KeyError("width")


def deaf(shape, classes):
    return nn.Conv2d(7, 1, 3)


def narrow(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def pair(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.LSTM(64, 10))


def doubles(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).double()


def fixed(shape, classes):
    return nn.Flatten()


def flat_norm(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))


class Partly(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.frozen, self.unused, self.out = nn.Linear(64, 8).requires_grad_(False), nn.Linear(3, 3), nn.Linear(8, classes)

    def forward(self, x):
        return self.out(torch.relu(self.frozen(x.flatten(1))))


def partly(shape, classes):
    return Partly(classes)


class Stuck(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1)).detach()


def stuck(shape, classes):
    return Stuck(64, classes)


class TwoRows(nn.Linear):
    def forward(self, x):
        return super().forward(x.view(2, 64))


def two_rows(shape, classes):
    return TwoRows(64, classes)


def not_a_number(shape, classes):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    nn.init.constant_(net[1].bias, float("nan"))
    return net


def few():
    return nn.Flatten()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a module of models, from which the test runs; each has another name, since a process imports one once."""
    name = "nets_" + re.sub(r"\W", "_", tmp_path.name)
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_model_of_ones_own_gets_images_and_the_tasks_seed(own):
    task = Task(model=f"{own}:normed", seed=3)
    before = torch.random.get_rng_state()
    net = model(task)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(1)
    again, other = model(task), model(Task(model=task.model, seed=4))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(net.parameters()), next(other.parameters()))
    assert net.training
    assert net(load(task).test_x[:3]).shape == (3, 10)
    assert sum(value.numel() for value in model(Task(model=f"{own}:lazy")).parameters()) == 650


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "must return a torch.nn.Module, got NoneType"),
        ("broken", "raised KeyError: 'width'"),
        ("few", "raised TypeError: few() takes 0 positional arguments but 2 were given"),
        ("deaf", "cannot read 2 examples of 1 x 8 x 8: RuntimeError: "),
        ("two_rows", "cannot read 3 examples of 1 x 8 x 8: RuntimeError: "),
        ("not_a_number", "must give finite scores at first, got nan"),
        ("narrow", "must give (rows, 10) scores, one a class, got (2, 3) for 2 rows"),
        ("pair", "must give (rows, 10) scores, one a class, got tuple for 2 rows"),
        ("doubles", "must have float32 parameters to train, got torch.float64"),
        ("stuck", "cannot be trained: RuntimeError: element 0 of tensors does not require grad"),
        ("absent", "has no 'absent'"),
    ],
)
def test_mistakes_in_ones_own_model_are_one_sentence(own, function, message):
    with pytest.raises(InvalidParameter) as error:
        model(Task(model=f"{own}:{function}"))
    assert message in str(error.value)
    assert str(error.value).startswith(f"model '{own}:{function}'")


def test_running_statistics_need_models_that_are_sent_whole(own):
    for name, buffer in ((f"{own}:normed", "running_mean"), ("tests.support.batched:Centred", "mean")):
        problem = rf"keeps running statistics \(buffer {buffer}\), which gradients do not carry; take method \"local-sgd\""
        with pytest.raises(InvalidParameter, match=problem):
            model(Task(model=name, method="byzantine-sgd"))


def test_batch_norm_is_trained_sent_aggregated_and_measured(own):
    task = Task(model=f"{own}:normed", partition="iid", num_clients=4, local_epochs=3, lr=0.05)
    history, arrays = federate(LocalGrid(client_app(), 4), task, rules.TrimmedMean(f=1), None, 3)
    state = arrays.to_torch_state_dict()
    assert state["1.norm.num_batches_tracked"] > 10
    assert state["1.norm.running_mean"].abs().max() > 0.01
    assert history.accuracy[-1] > 0.8
    harm, vector = ModelError(task), flat(arrays).astype(np.float64)
    assert harm(vector, 0.0 * vector) < 0.2 < harm(0.0 * vector, 0.0 * vector)


@pytest.mark.parametrize(
    ("function", "batch_size", "fine"), [("flat_norm", 32, False), ("flat_norm", 50, True), ("normed", 32, True), ("flat_norm", 1, False)]
)
def test_batch_norm_that_would_meet_one_example_alone_is_one_sentence_before_a_sweep_runs(own, tmp_path, function, batch_size, fine):
    """Each of the six clients has 224 or 225 examples."""
    text = f"[task]\nmodel = '{own}:{function}'\nnum-clients = 6\npartition = 'iid'\nbatch-size = {batch_size}\nvalidation = 0.0\n"
    if fine:
        assert read(write(tmp_path, text)).cells
    else:
        with pytest.raises(
            InvalidParameter, match=r"cannot be trained on one example alone \(batch norm\), which is a batch of a client with 2\d\d"
        ):
            read(write(tmp_path, text))


def test_parameters_that_are_frozen_or_not_used_stay_as_they_are(own):
    task = Task(model=f"{own}:partly", local_epochs=1)
    net, before = model(task), model(task)
    training.train(net, task, *training.local_data(task, 0), training.randomness(task, 0, 1))
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before.state_dict()[name])}
    assert changed == {"1.out.weight", "1.out.bias"}
