"""Robust strategies together with other techniques, on handwritten digits in this process: the figures of docs/combine.md.

Twenty clients with label-skewed digits (Dirichlet 0.5), four of them malicious or none, twenty rounds of five local epochs, three
seeds. Run: python -m simulations.combine [NAME ...]
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
from flwr.clientapp.typing import ClientAppCallable, Mod
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedYogi,
    Strategy,
)

from flwr_byzantine import Robust, attacks, rules
from flwr_byzantine.adversary import AdversarialGrid, by_partition
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.experiments.tasks import client as task_client
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.engines import quiet
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.experiments.tasks.training import evaluate
from flwr_byzantine.flower.grids import wait_for_all
from flwr_byzantine.flower.local import LocalGrid

N, F, ROUNDS, SEEDS = 20, 4, 20, (0, 1, 2)
RULE = "nnm+trimmed-mean"
EVERYBODY = {"fraction_evaluate": 0.0, "min_train_nodes": N, "min_available_nodes": N}
ATTACKS = {"no attack": None, "sign flip x3": attacks.SignFlip(scale=3.0), "ALIE, z = 1.5": attacks.ALIE(z=1.5)}


def run(
    strategy: Strategy,
    attack: attacks.Attack | None = None,
    *,
    mods: Sequence[Mod] = (),
    rounds: int = ROUNDS,
    seed: int = 0,
    expand: Callable[[ArrayRecord], ArrayRecord] | None = None,
) -> float:
    """Test accuracy after a federation of this strategy.

    Args:
        strategy: any of Flower's Message API.
        attack: of clients 0 to 3, who see all honest updates where it takes that; None for nobody's.
        mods: of every client.
        rounds: number of rounds.
        seed: of data, training, attack and noise.
        expand: makes a model again of what clients have made smaller.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002, Flower's noise is drawn from it
    task = Task(num_clients=N, num_malicious=F, seed=seed)
    app, net = ClientApp(mods=list(mods)), model(task)
    app.train()(task_client.train)
    grid: Any = LocalGrid(app, N)
    grid = grid if expand is None else Expanding(grid, expand)
    grid = grid if attack is None else AdversarialGrid(grid, attack, by_partition(range(F)), seed=seed)
    config = ConfigRecord({**task_client.config_of(task, None)})
    with quiet():
        result = strategy.start(grid, ArrayRecord(net.state_dict()), rounds, train_config=config)
    net.load_state_dict(result.arrays.to_torch_state_dict())
    return evaluate(net, load(task).test_x, load(task).test_y)[1]


class Expanding:
    """A Grid whose replies are made whole again before a strategy, and its rule, see them.

    Args:
        grid: the Grid to wrap.
        expand: from the reply's arrays to those of a model.
    """

    def __init__(self, grid: Any, expand: Callable[[ArrayRecord], ArrayRecord]) -> None:
        self.grid, self.expand = grid, expand

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send, receive, and expand; what cannot be expanded stays as it is, and is found to be invalid."""
        replies = wait_for_all(self.grid, list(messages), timeout)
        for reply in replies:
            for name, record in reply.content.array_records.items() if reply.has_content() else ():
                reply.content[name] = self._expanded(record)
        return replies

    def _expanded(self, record: ArrayRecord) -> ArrayRecord:
        try:
            return self.expand(record)
        except Exception:  # a client's bytes: whatever they raise is for the inspection to tell
            return record


def half(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """A mod: the client answers in float16, half as many bytes; strategies convert replies to the model's type."""
    reply = call_next(message, context)
    for name, record in reply.content.array_records.items():
        reply.content[name] = ArrayRecord({key: Array(value.numpy().astype(np.float16)) for key, value in record.items()})
    return reply


def eight_bits(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """A mod: the client answers in 8 bits and a step for each array, a quarter of the bytes; `from_eight_bits` expands it."""
    reply = call_next(message, context)
    for name, record in reply.content.array_records.items():
        small = ArrayRecord()
        for key, value in record.items():
            array = value.numpy()
            step = np.float32(max(np.abs(array).max(initial=0.0), 1e-12) / 127)
            small[key], small[f"{key} step"] = Array(np.rint(array / step).astype(np.int8)), Array(np.asarray(step))
        reply.content[name] = small
    return reply


def from_eight_bits(record: ArrayRecord) -> ArrayRecord:
    """The model that `eight_bits` made small."""
    names = [name for name in record if not name.endswith(" step")]
    return ArrayRecord({name: Array(record[name].numpy() * record[f"{name} step"].numpy()) for name in names})


def robust(**keywords: Any) -> Robust:
    """The rule of this page over FedAvg."""
    return Robust(RULE, FedAvg(**EVERYBODY), f=F, **keywords)


def private(inner: Strategy, factor: float = 1.0) -> Strategy:
    """Central differential privacy around a strategy; `factor` times the noise that an average of N updates needs."""
    return DifferentialPrivacyServerSideFixedClipping(inner, 0.3 * factor, clipping_norm=2.0, num_sampled_clients=N)


def trimmed() -> Robust:
    """The trimmed mean over FedAvg."""
    return Robust("trimmed-mean", FedAvg(**EVERYBODY), f=F)


def grouped(size: int) -> Robust:
    """What a rule sees where groups of so many clients send their average alone."""
    groups = N // size
    return Robust(rules.chain(rules.Bucketing(s=size), rules.TrimmedMean(f=min(F, (groups - 1) // 2))), strategy=FedAvg(**EVERYBODY))


def noisy(epsilon: float) -> dict[str, Any]:
    """Local differential privacy in every client."""
    return {"mods": [LocalDpMod(clipping_norm=2.0, sensitivity=2.0, epsilon=epsilon, delta=1e-5)]}


CASES: dict[str, tuple[Callable[[], Strategy], dict[str, Any]]] = {
    "FedAvg": (lambda: FedAvg(**EVERYBODY), {}),
    "NNM + trimmed mean": (robust, {}),
    "trimmed mean": (trimmed, {}),
    "FedAvgM": (lambda: FedAvgM(**EVERYBODY, server_momentum=0.9, server_learning_rate=0.3), {}),
    "NNM + trimmed mean, FedAvgM": (lambda: Robust(RULE, FedAvgM(**EVERYBODY, server_momentum=0.9, server_learning_rate=0.3), f=F), {}),
    "FedAdam": (lambda: FedAdam(**EVERYBODY, eta=0.03, tau=1e-3), {}),
    "NNM + trimmed mean, FedAdam": (lambda: Robust(RULE, FedAdam(**EVERYBODY, eta=0.03, tau=1e-3), f=F), {}),
    "FedYogi": (lambda: FedYogi(**EVERYBODY, eta=0.03, tau=1e-3), {}),
    "NNM + trimmed mean, FedYogi": (lambda: Robust(RULE, FedYogi(**EVERYBODY, eta=0.03, tau=1e-3), f=F), {}),
    "FedAdagrad": (lambda: FedAdagrad(**EVERYBODY, eta=0.1, tau=1e-3), {}),
    "NNM + trimmed mean, FedAdagrad": (lambda: Robust(RULE, FedAdagrad(**EVERYBODY, eta=0.1, tau=1e-3), f=F), {}),
    "central DP around FedAvg": (lambda: private(FedAvg(**EVERYBODY)), {}),
    "central DP around NNM + trimmed mean": (lambda: private(robust()), {}),
    "central DP around the trimmed mean, 5.1 times the noise": (lambda: private(trimmed(), 5.1), {}),
    "local DP, epsilon 50, FedAvg": (lambda: FedAvg(**EVERYBODY), noisy(50.0)),
    "local DP, epsilon 50, NNM + trimmed mean": (robust, noisy(50.0)),
    "local DP, epsilon 200, FedAvg": (lambda: FedAvg(**EVERYBODY), noisy(200.0)),
    "local DP, epsilon 200, NNM + trimmed mean": (robust, noisy(200.0)),
    "groups of 2": (lambda: grouped(2), {}),
    "groups of 4": (lambda: grouped(4), {}),
    "16 bits, NNM + trimmed mean": (robust, {"mods": [half]}),
    "8 bits, NNM + trimmed mean": (robust, {"mods": [eight_bits], "expand": from_eight_bits}),
}


def row(name: str, rounds: int = ROUNDS, seeds: Sequence[int] = SEEDS) -> str:
    """A line of the page's table: accuracy in percent under each attack, mean and deviation over the seeds."""
    make, keywords = CASES[name]
    cells = []
    for attack in ATTACKS.values():
        found = [100 * run(make(), attack, rounds=rounds, seed=seed, **keywords) for seed in seeds]
        cells.append(f"{mean(found):.1f}" + (f" ± {stdev(found):.1f}" if len(found) > 1 else ""))
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    print(f"| | {' | '.join(ATTACKS)} |\n|---|{'---|' * len(ATTACKS)}")
    for chosen in sys.argv[1:] or CASES:
        print(row(chosen), flush=True)
