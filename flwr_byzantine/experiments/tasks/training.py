"""What one client computes in one round, and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from flwr_byzantine.experiments.tasks import backprop
from flwr_byzantine.experiments.tasks.cache import Cache
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.partitions import partitions
from flwr_byzantine.experiments.tasks.task import Task

TRAINING_STREAM = 3  # tells the generator of a client's round from others of the same seed
Examples = tuple[torch.Tensor, torch.Tensor]
Step = Callable[[Sequence[torch.Tensor]], None]


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


def batches(task: Task, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> Iterator[Examples]:
    """A round's batches: shuffled passes over the examples, `local_epochs` of them or as many as `local_steps` batches need."""
    left = task.local_steps or task.local_epochs * -(-len(x) // task.batch_size)
    while left > 0:
        order = torch.randperm(len(x), generator=generator)[: left * task.batch_size]
        found = list(zip(x[order].split(task.batch_size), y[order].split(task.batch_size), strict=True))  # type: ignore[no-untyped-call]  # torch's split has no types
        yield from found
        left -= len(found)


def one_batch(task: Task, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> Examples:
    """A random batch drawn with replacement, for one gradient."""
    rows = torch.randint(len(x), (task.batch_size,), generator=generator)
    return x[rows], y[rows]


def train(net: nn.Module, task: Task, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> float:
    """Local training of one round; the mean loss over its batches.

    Example:
        >>> from flwr_byzantine.experiments.tasks.models import model
        >>> task = Task(local_epochs=1)
        >>> loss = train(model(task), task, *local_data(task, 0), randomness(task, 0, 1))
        >>> 2.0 < loss < 2.5
        True
    """
    weights = [weight.detach() for weight in net.parameters()]  # the same memory
    step, losses = _step(task, weights), []
    for images, labels in batches(task, x, y, generator):
        gradients, loss = _gradients(net, images, labels) if task.model == "cnn" else backprop.gradients(weights, images, labels)
        step(gradients)
        losses.append(loss)  # read at the end only: each reading would wait for the result
    return float(torch.stack(losses).mean())


def _gradients(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[Sequence[torch.Tensor], torch.Tensor]:
    """Gradients and loss of one batch by autograd, whose graph is freed on return, so that the next batch reuses its memory."""
    loss = nn.functional.cross_entropy(net(x), y)
    return torch.autograd.grad(loss, list(net.parameters())), loss.detach()


def _step(task: Task, weights: list[torch.Tensor]) -> Step:
    """The task's optimiser, which changes the weights in place."""
    if task.optimizer == "sgd":
        return SGD(weights, task.lr, task.momentum, task.weight_decay)
    return Adam(weights, task.lr, task.weight_decay)


class SGD:
    """Stochastic gradient descent as torch.optim's, bit for bit, without its cost per step, which is near that of a small model's gradient.

    Args:
        weights: changed in place; detached ones.
        lr: learning rate.
        momentum: heavy-ball momentum.
        weight_decay: added to the gradient times the weights.

    Example:
        >>> weight = torch.ones(1)
        >>> SGD([weight], lr=0.5)([torch.ones(1)])
        >>> weight.item()
        0.5
    """

    def __init__(self, weights: list[torch.Tensor], lr: float, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        self.weights, self.lr, self.momentum, self.weight_decay = weights, lr, momentum, weight_decay
        self.velocity: list[torch.Tensor] = []

    def __call__(self, gradients: Sequence[torch.Tensor]) -> None:
        """One step."""
        moves = list(gradients)
        if self.weight_decay:
            moves = list(torch._foreach_add(moves, self.weights, alpha=self.weight_decay))
        if self.momentum and self.velocity:
            torch._foreach_mul_(self.velocity, self.momentum)
            torch._foreach_add_(self.velocity, moves)
        elif self.momentum:
            self.velocity = [move.clone() for move in moves]
        torch._foreach_add_(self.weights, self.velocity or moves, alpha=-self.lr)


class Adam:
    """Adam with β = (0.9, 0.999) and ε = 1e-8 as torch.optim's, bit for bit, without its cost per step.

    Args:
        weights: changed in place; detached ones.
        lr: learning rate.
        weight_decay: added to the gradient times the weights.

    Source: Kingma, Ba, ICLR 2015.

    Example:
        >>> weight = torch.ones(1)
        >>> Adam([weight], lr=0.5)([torch.ones(1)])
        >>> round(weight.item(), 3)
        0.5
    """

    def __init__(self, weights: list[torch.Tensor], lr: float, weight_decay: float = 0.0) -> None:
        self.weights, self.lr, self.weight_decay, self.steps = weights, lr, weight_decay, 0
        self.first, self.second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))

    def __call__(self, gradients: Sequence[torch.Tensor]) -> None:
        """One step."""
        self.steps += 1
        moves = list(gradients)
        if self.weight_decay:
            moves = list(torch._foreach_add(moves, self.weights, alpha=self.weight_decay))
        torch._foreach_lerp_(self.first, moves, 1 - 0.9)
        torch._foreach_mul_(self.second, 0.999)
        torch._foreach_addcmul_(self.second, moves, moves, 1 - 0.999)
        scale = list(torch._foreach_sqrt(self.second))
        torch._foreach_div_(scale, (1 - 0.999**self.steps) ** 0.5)
        torch._foreach_add_(scale, 1e-8)
        torch._foreach_addcdiv_(self.weights, self.first, scale, -self.lr / (1 - 0.9**self.steps))


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
    with torch.no_grad():
        output = net(x)
        return float(nn.functional.cross_entropy(output, y)), float((output.argmax(1) == y).double().mean())
