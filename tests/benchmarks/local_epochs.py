"""Rounds of local epochs with 100 clients: the engines "batched" and "local", and the matrix products alone, in turns in one run.

FLANDERS' setting: an MLP 784-128-10 on MNIST, Dirichlet 0.5, 20 clients that mount ALIE, Adam, one epoch in batches of 32, Multi-Krum.
Prints the median time of a round and its ratio to the engine "batched" on all cores. Needs MNIST in torchvision's layout under
$FLWR_BYZANTINE_DATA. Run: python tests/benchmarks/local_epochs.py
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import torch
from threadpoolctl import threadpool_limits

from flwr_byzantine import attacks
from flwr_byzantine.arrays.parallel import cores
from flwr_byzantine.experiments.tasks import Task, batched, training
from flwr_byzantine.experiments.tasks.client import client_app
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.rules.parsing import parse

CLIENTS, F, ROUNDS, TURNS = 100, 20, 4, 3
TASK = Task(
    dataset="mnist",
    partition="dirichlet",
    num_clients=CLIENTS,
    num_malicious=F,
    model="mlp",
    hidden=(128,),
    optimizer="adam",
    local_epochs=1,
    batch_size=32,
    lr=0.001,
)


def stamped(run: Callable[[Callable[[int, float], None]], object]) -> float:
    """Median seconds between the ends of rounds, the first one left out."""
    ends: list[float] = []
    run(lambda _round, _accuracy: ends.append(time.perf_counter()))
    return median(after - before for before, after in pairwise(ends[1:]))


def together(threads: int) -> float:
    """Seconds of a round on the engine "batched"."""
    rule = parse("multi-krum", F)
    return stamped(lambda on_round: batched.federate(TASK, rule, attacks.ALIE(), ROUNDS, on_round, threads=threads))


def apart(processes: int) -> float:
    """Seconds of a round on the engine "local"."""
    with LocalGrid(client_app(), CLIENTS, processes=processes) as grid:
        return stamped(lambda on_round: federate(grid, TASK, parse("multi-krum", F), attacks.ALIE(), ROUNDS, on_round))


def products() -> float:
    """Seconds of a round's two large matrix products of each step of the honest clients, on one core."""
    steps = sum(-(-len(training.local_data(TASK, client)[1]) // 32) for client in range(F, CLIENTS))
    x, weight, back = torch.randn(32, 784), torch.randn(128, 784), torch.randn(32, 128)
    begun = time.perf_counter()
    for _ in range(steps):
        x @ weight.T, back.T @ x
    return time.perf_counter() - begun


def main() -> None:
    """Print a line for each contestant."""
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    contestants: dict[str, Callable[[], float]] = {
        f"batched, {cores()} threads": lambda: together(cores()),
        "batched, 1 thread": lambda: together(1),
        f"local, {cores()} processes": lambda: apart(cores()),
        "local, 1 process": lambda: apart(1),
        "matrix products alone, 1 core": products,
    }
    times: dict[str, list[float]] = {who: [] for who in contestants}
    with threadpool_limits(1, "blas"):
        for _ in range(TURNS):
            for who, run in contestants.items():
                times[who].append(run())
    ours = median(next(iter(times.values())))
    for who, found in times.items():
        print(f"{who:30s} {median(found):6.3f} s a round, {median(found) / ours:5.2f} times batched")


if __name__ == "__main__":
    main()
