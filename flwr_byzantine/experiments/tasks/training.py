"""What one client computes in one round, and evaluation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from flwr_byzantine.experiments.tasks.cache import Cache
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.partitions import partitions
from flwr_byzantine.experiments.tasks.task import OPTIMIZERS, Task

TOGETHER = 100  # examples evaluated together: what convolutions make of more leaves the cache
TRAINING_STREAM = 3  # tells the generator of a client's round from others of the same seed
Examples = tuple[torch.Tensor, torch.Tensor]
_DRAWS: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


CLIENTS = 4096  # clients whose examples a process keeps
_LOCAL: Cache[Examples] = Cache(size=CLIENTS)


def local_data(task: Task, client: int) -> Examples:
    """One client's training examples and labels, picked out of the data once for all rounds; they must not be changed."""
    data, rows = load(task), partitions(task)[client]
    picked = torch.from_numpy(rows)
    return _LOCAL.get(client, [data, rows], lambda: (data.train_x[picked], data.train_y[picked]))


def randomness(task: Task, client: int, server_round: int) -> torch.Generator:
    """The random generator of one client in one round, the same in every process.

    Example:
        >>> a, b, c = (randomness(Task(), client, 1).initial_seed() for client in (4, 4, 5))
        >>> a == b != c
        True
    """
    words = np.random.SeedSequence([task.seed, TRAINING_STREAM, client, server_round]).generate_state(1)
    return torch.Generator().manual_seed(int(words[0]))


def batches(task: Task, count: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """A round's batches of `count` examples, by their places: shuffled passes, `local_epochs` of them or for `local_steps` batches."""
    left = task.local_steps or task.local_epochs * -(-count // task.batch_size)
    while left > 0:
        found = torch.randperm(count, generator=generator)[: left * task.batch_size].split(task.batch_size)  # type: ignore[no-untyped-call]  # torch's split has no types
        yield from found
        left -= len(found)


def one_batch(task: Task, count: int, generator: torch.Generator) -> torch.Tensor:
    """The places of a random batch of `count` examples, drawn with replacement, for one gradient."""
    return torch.randint(count, (task.batch_size,), generator=generator)


def train(net: nn.Module, task: Task, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator, lr: float | None = None) -> float:
    """Local training of one round; the mean loss over its batches.

    Args:
        net: holds the broadcast model; changed in place.
        task: its optimiser and its batches.
        x: the client's examples.
        y: their labels.
        generator: see `randomness`.
        lr: of the round; None is the task's.

    Example:
        >>> from flwr_byzantine.experiments.tasks.models import model
        >>> task = Task(local_epochs=1)
        >>> loss = train(model(task), task, *local_data(task, 0), randomness(task, 0, 1))
        >>> 2.0 < loss < 2.5
        True
    """
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    step, losses = optimizer(task, weights, task.lr if lr is None else lr), []
    with drawing(net, x, generator):
        for rows in batches(task, len(x), generator):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights, materialize_grads=True), strict=True):
                weight.grad = gradient.contiguous() if weight.is_contiguous() else gradient
            step.step()
            losses.append(loss.detach())  # read at the end only: each reading would wait for the result
    net.zero_grad(set_to_none=True)
    return float(torch.stack(losses).mean())


@contextmanager
def drawing(net: nn.Module, x: torch.Tensor, generator: torch.Generator) -> Iterator[None]:
    """Train the net in this block; what it draws, such as dropout's masks, follows from the client's round, as its batches do."""
    net.train()
    if not draws(net, x):
        yield
        return
    with torch.random.fork_rng(devices=_gpus(x)):
        torch.manual_seed(generator.initial_seed())
        yield


def draws(net: nn.Module, x: torch.Tensor) -> bool:
    """Whether the net draws random numbers in training, as dropout does; found out once, on two of these examples.

    Example:
        >>> x = torch.ones(2, 2)
        >>> draws(nn.Linear(2, 2), x), draws(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), x)
        (False, True)
    """
    if net not in _DRAWS:
        with torch.random.fork_rng(devices=_gpus(x)), torch.no_grad():
            before = _random_state(x)
            copy.deepcopy(net).train()(x[:2])
            _DRAWS[net] = not torch.equal(before, _random_state(x))
    return _DRAWS[net]


def _gpus(x: torch.Tensor) -> list[torch.device]:
    """The devices beside the CPU whose random numbers are drawn for x."""
    return [x.device] if x.is_cuda else []


def _random_state(x: torch.Tensor) -> torch.Tensor:
    """Of the generator whose numbers are drawn for x."""
    return torch.cuda.get_rng_state(x.device) if x.is_cuda else torch.random.get_rng_state()


def mixes(net: nn.Module, x: torch.Tensor) -> bool:
    """Whether what the net makes of one row in training depends on the other rows of its batch, as under batch normalisation.

    Example:
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> mixes(nn.Linear(2, 2), x), mixes(nn.BatchNorm1d(2), x)
        (False, True)
    """
    made, rows = [], torch.cat([x[:1], (x[:1] == 0).to(x.dtype)])  # the second is another one, whatever x holds
    for others in ([0, 1], [1, 1]):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            made.append(copy.deepcopy(net).train()(rows[[0, *others]])[0])
    return not torch.equal(*made)


def remembers(net: nn.Module, x: torch.Tensor) -> list[str]:
    """The names of the buffers that change in training, such as running statistics.

    Example:
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> remembers(nn.Linear(2, 2), x), remembers(nn.BatchNorm1d(2), x)
        ([], ['running_mean', 'running_var', 'num_batches_tracked'])
    """
    trained = copy.deepcopy(net).train()
    with torch.random.fork_rng(devices=_gpus(x)), torch.no_grad():
        trained(x[[0, 0]])
    after = dict(trained.named_buffers())
    return [name for name, value in net.named_buffers() if not torch.equal(value, after[name])]


def optimizer(task: Task, weights: Sequence[torch.Tensor], lr: float) -> torch.optim.Optimizer:
    """The task's optimiser, new in each round: one of `torch.optim`, in its fused form where there is one.

    On CPUs that form takes the memory of weight and gradient as they lie (PyTorch 2.14), so it must be the same order for both: weights
    in another order than the usual one get the plain form.
    """
    kind = getattr(torch.optim, OPTIMIZERS[task.optimizer])
    options: dict[str, Any] = {"lr": lr, "weight_decay": task.weight_decay}
    if task.optimizer == "sgd":
        options["momentum"] = task.momentum
    fused = {"fused": True} if "fused" in signature(kind).parameters and all(weight.is_contiguous() for weight in weights) else {}
    made: torch.optim.Optimizer = kind(weights, **options, **fused)
    return made


def objective(task: Task) -> Callable[[nn.Module, Examples], torch.Tensor]:
    """The loss whose gradient clients of "byzantine-sgd" send: cross entropy and ½ weight_decay ‖w‖²."""

    def loss(net: nn.Module, batch: Examples) -> torch.Tensor:
        value = nn.functional.cross_entropy(net(batch[0]), batch[1])
        penalties = [weight.square().sum() for weight in net.parameters()] if task.weight_decay else []
        return value + task.weight_decay / 2 * torch.stack(penalties).sum() if penalties else value

    return loss


def evaluate(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Mean loss and accuracy in [0, 1]; NaN where there are no examples."""
    if not len(y):
        return float("nan"), float("nan")
    output = outputs(net, x)
    return float(nn.functional.cross_entropy(output, y)), float((output.argmax(1) == y).double().mean())


@torch.no_grad()
def outputs(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """(rows, classes) logits, as in evaluation."""
    net.eval()
    return torch.cat([net(part) for part in torch.split(x, TOGETHER)])
