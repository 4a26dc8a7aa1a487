"""A client's training step against the plain PyTorch loop, medians of interleaved runs.

Prints the ratio of the times for each model; below 1 is faster than the plain loop. Run: python tests/benchmarks/training_overhead.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

from flwr_byzantine.experiments.tasks import Task, training
from flwr_byzantine.experiments.tasks.models import model

REPEATS = 31
CASES = {
    "digits, mlp, sgd": Task(local_epochs=5),
    "digits, mlp, sgd with momentum": Task(local_epochs=5, momentum=0.9, weight_decay=1e-4),
    "digits, mlp, adam": Task(local_epochs=5, optimizer="adam", lr=0.001),
    "digits, cnn, sgd": Task(local_epochs=2, model="cnn"),
}


def plain(net: nn.Module, task: Task, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> float:
    """The loop that everybody writes, over the same batches."""
    optimizer: torch.optim.Optimizer = (
        torch.optim.Adam(net.parameters(), lr=task.lr, weight_decay=task.weight_decay)
        if task.optimizer == "adam"
        else torch.optim.SGD(net.parameters(), lr=task.lr, momentum=task.momentum, weight_decay=task.weight_decay)
    )
    loss = torch.zeros(())
    for _ in range(task.local_epochs):
        for rows in torch.randperm(len(x), generator=generator).split(task.batch_size):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
    return float(loss.detach())


def seconds(work: Callable[..., float], task: Task) -> float:
    """Time of one client's round."""
    net, (x, y), generator = model(task), training.local_data(task, 0), training.randomness(task, 0, 1)
    begun = time.perf_counter()
    work(net, task, x, y, generator)
    return time.perf_counter() - begun


def main() -> None:
    """Print a line for each case."""
    torch.set_num_threads(1)
    for name, task in CASES.items():
        pairs = [(seconds(training.train, task), seconds(plain, task)) for _ in range(REPEATS)]
        ours, theirs = (median(column) for column in zip(*pairs, strict=True))
        ratio = median(a / b for a, b in pairs)
        print(f"{name:34s} {1e3 * ours:7.2f} ms, plain loop {1e3 * theirs:7.2f} ms, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
