"""A task's model, by name or by a function of one's own, with initial weights from the task's seed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.models import fits
from flwr_byzantine.experiments.tasks import training
from flwr_byzantine.experiments.tasks.data import Data, load
from flwr_byzantine.experiments.tasks.models import attention, convolutional, dense, residual
from flwr_byzantine.experiments.tasks.models.yours import own
from flwr_byzantine.experiments.tasks.partitions import partitions
from flwr_byzantine.experiments.tasks.task import Task

MAKERS: dict[str, Callable[..., nn.Module]] = {
    "mlp": dense.mlp,
    "softmax": dense.softmax,
    "cnn": convolutional.cnn,
    "cnn_mnist": convolutional.cnn_mnist,
    "cnn_cifar": convolutional.cnn_cifar,
    "bucketing-cnn": convolutional.bucketing_cnn,
    "fltrust-cnn": convolutional.fltrust_cnn,
    "lenet5": convolutional.lenet5,
    "flanders-mlp": dense.flanders_mlp,
    "blades-mlp": dense.blades_mlp,
    "resnet18-bn": residual.resnet18_bn,
    "resnet18-gn": residual.resnet18_gn,
    "transformer": attention.transformer,
}


def model(task: Task) -> nn.Module:
    """A new model in training mode, from (rows, values) to (rows, classes) scores, with initial weights from the task's seed.

    Raises:
        InvalidParameter: the model does not take such data, or cannot be trained as the task says.

    Example:
        >>> [sum(value.numel() for value in model(Task(model=name)).parameters()) for name in ("mlp", "cnn", "softmax")]
        [4810, 6090, 650]
    """
    data = load(task)
    fits(task.model, task.dataset, data.shape, data.vocabulary)
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        net = _named(task, data) if task.model in MAKERS else own(task.model, data)
        _check_remembered(task, net, data)
        if any(isinstance(part, nn.modules.batchnorm._NormBase) for part in net.modules()):
            _check_norm(task, net, data)
    return net.train()


def _named(task: Task, data: Data) -> nn.Module:
    extra = (task.widths,) if task.model == "mlp" else (data.vocabulary,) if data.vocabulary else ()
    return MAKERS[task.model](data.shape, data.classes, *extra).to(memory_format=torch.channels_last)  # convolutions are quicker so


def _check_remembered(task: Task, net: nn.Module, data: Data) -> None:
    """Check that what a model learns beside its parameters is sent; counters of steps are not learnt."""
    if task.method == "local-sgd" or not any(value.is_floating_point() for value in net.buffers()):
        return
    for name in training.remembers(net, data.train_x):
        if net.get_buffer(name).is_floating_point():
            kept = f"keeps running statistics (buffer {name.rpartition('.')[2]}), which gradients do not carry"
            instead = 'take method "local-sgd", or a model with group norm such as "resnet18-gn"'
            raise InvalidParameter(f"task: model {task.model!r} {kept}; {instead}")


def _check_norm(task: Task, net: nn.Module, data: Data) -> None:
    """Check that no client has a batch from which batch norm makes no statistics."""
    single = [len(rows) for rows in partitions(task) if task.batch_size == 1 or len(rows) % task.batch_size == 1]
    if single and task.method == "local-sgd" and not _trains_on_one(net, data):
        problem = f"task: model {task.model!r} cannot be trained on one example alone (batch norm)"
        where = f"which is a batch of a client with {single[0]} examples where batch-size = {task.batch_size}"
        raise InvalidParameter(f"{problem}, {where}; take another batch-size, or group norm")


def _trains_on_one(net: nn.Module, data: Data) -> bool:
    try:
        copy.deepcopy(net).train()(data.train_x[:1])
    except ValueError:
        return False
    return True
