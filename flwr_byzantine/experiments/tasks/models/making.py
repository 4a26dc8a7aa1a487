"""A task's model, by name or by a function of one's own, with initial weights from the task's seed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.models import fits
from flwr_byzantine.experiments.tasks.data import Data, load
from flwr_byzantine.experiments.tasks.models import attention, convolutional, dense, residual
from flwr_byzantine.experiments.tasks.own import called
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
    """A new model in training mode, with initial weights from the task's seed; it takes (rows, values) and gives (rows, classes).

    Raises:
        InvalidParameter: the model does not take such data, or cannot be trained by the task's method; one's own is no
            model, as said below.

    "module:function" is called with the shape of an example, the number of classes and, where examples are tokens, the
    vocabulary's size. It returns an `nn.Module` of float32 parameters from (rows, *shape) to (rows, classes) scores.

    Example:
        >>> [sum(value.numel() for value in model(Task(model=name)).parameters()) for name in ("mlp", "cnn", "softmax")]
        [4810, 6090, 650]
    """
    data = load(task)
    fits(task.model, task.dataset, data.shape, data.vocabulary)
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        net = _named(task, data) if task.model in MAKERS else _own(task.model, data)
    if task.method == "byzantine-sgd" and any(getattr(part, "running_mean", None) is not None for part in net.modules()):
        problem = f"task: model {task.model!r} keeps running statistics (batch norm), which gradients do not carry"
        raise InvalidParameter(f'{problem}; take method "local-sgd", or a model with group norm such as "resnet18-gn"')
    return net.train()


def _named(task: Task, data: Data) -> nn.Module:
    extra = (task.widths,) if task.model == "mlp" else (data.vocabulary,) if data.vocabulary else ()
    return MAKERS[task.model](data.shape, data.classes, *extra).to(memory_format=torch.channels_last)  # convolutions are quicker so


def _own(name: str, data: Data) -> nn.Module:
    """The model that the function returns, tried out on two examples."""
    extra = (data.vocabulary,) if data.vocabulary else ()
    net = called(name, "model", data.shape, data.classes, *extra)
    if not isinstance(net, nn.Module):
        raise InvalidParameter(f"model {name!r} must return a torch.nn.Module, got {type(net).__name__}")
    kinds = {str(value.dtype) for value in net.parameters()}
    if kinds != {"torch.float32"}:
        raise InvalidParameter(f"model {name!r} must have float32 parameters, got {', '.join(sorted(kinds)) or 'none'}")
    whole = nn.Sequential(nn.Unflatten(1, data.shape), net) if len(data.shape) > 1 else net
    scores = _scores(name, whole, data)
    if not isinstance(scores, torch.Tensor) or scores.shape != (2, data.classes):
        got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise InvalidParameter(f"model {name!r} must give (rows, {data.classes}) scores, one a class, got {got} for 2 rows")
    return whole


def _scores(name: str, net: nn.Module, data: Data) -> object:
    try:
        with torch.no_grad():
            return net.eval()(data.train_x[:2])
    except Exception as error:
        shown = " x ".join(map(str, data.shape))
        raise InvalidParameter(f"model {name!r} cannot read examples of {shown}: {type(error).__name__}: {error}") from error
