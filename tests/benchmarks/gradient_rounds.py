"""Rounds of gradients: the engines "batched" and "local", a bare vectorised loop of the same work, and ByzFL, in turns in one run.

10 honest clients and 4 that mount ALIE, batches of 25, clipping to norm 2 + NNM + geometric median, worker momentum 0.9. Prints the median
time of a round and its ratio to the engine "batched". Needs MNIST in torchvision's layout under $FLWR_BYZANTINE_DATA, and for its line
`pip install byzfl`. Run: python tests/benchmarks/gradient_rounds.py [fc_mnist | cnn_mnist]
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn
from torch.func import functional_call, grad, vmap

from flwr_byzantine import attacks
from flwr_byzantine.arrays.parallel import cores
from flwr_byzantine.experiments.tasks import Task, training
from flwr_byzantine.experiments.tasks.batched import Federation
from flwr_byzantine.experiments.tasks.batched.recorded import OFTEN
from flwr_byzantine.experiments.tasks.client import client_app
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.rules.parsing import parse

HONEST, F, TURNS, ROUNDS = 10, 4, 7, 20
MODELS: dict[str, dict[str, Any]] = {"fc_mnist": {"model": "mlp", "hidden": (100,)}, "cnn_mnist": {"model": "cnn_mnist"}}
DATASET = "mnist"
CHAIN = "clipping+nnm+geometric-median"
BYZFL = {  # its clients' own settings
    "optimizer_name": "SGD",
    "loss_name": "NLLLoss",
    "LabelFlipping": False,
    "momentum": 0.9,
    "nb_labels": 10,
    "store_per_client_metrics": False,
}


def task(name: str) -> Task:
    """The setting with a model of ByzFL's."""
    common: dict[str, Any] = {"dataset": DATASET, "partition": "iid", "shares": "honest", "method": "byzantine-sgd"}
    return Task(**common, num_clients=HONEST + F, num_malicious=F, batch_size=25, lr=0.1, momentum=0.9, **MODELS[name])


def batched(of: Task) -> Iterator[Any]:
    """The engine "batched", whole rounds with all measures but the accuracy."""
    federation = Federation(of, parse(CHAIN, F, radius=2.0), attacks.ALIE(), "cpu", certificate=False, threads=cores())
    return federation.rounds(10**9, federation.evaluator((), lambda _round, _accuracy: None))


def bare(of: Task) -> Iterator[Any]:
    """What the work is: gather, gradients by vmap, momentum, mean and deviation, the chain, the step."""
    net, rule = model(of), parse(CHAIN, F, radius=2.0)
    weights = {name: value.detach() for name, value in net.named_parameters()}
    sizes = [value.numel() for value in weights.values()]
    gradient = vmap(grad(lambda w, x, y: nn.functional.cross_entropy(functional_call(net, w, (x,)), y)), in_dims=(None, 0, 0))
    rows, rng = np.zeros((HONEST + F, sum(sizes)), np.float32), torch.Generator().manual_seed(0)
    data = [training.local_data(of, client) for client in range(F, HONEST + F)]
    while True:
        places = torch.stack([torch.randint(len(y), (of.batch_size,), generator=rng) for _, y in data])
        x, y = (torch.stack([part[p] for part, p in zip(parts, places, strict=True)]) for parts in zip(*data, strict=True))
        found = torch.cat([value.reshape(HONEST, -1) for value in gradient(weights, x, y).values()], dim=1).numpy()
        rows[:HONEST] = 0.9 * rows[:HONEST] + 0.1 * found
        rows[HONEST:] = rows[:HONEST].mean(0) - attacks.ALIE().strength(HONEST + F, F) * rows[:HONEST].std(0)
        step = torch.from_numpy(rule(rows)).split(sizes)
        for weight, part in zip(weights.values(), step, strict=True):
            weight -= of.lr * part.view_as(weight)
        yield None


class Stamped(LocalGrid):
    """A LocalGrid that notes when each exchange begins."""

    stamps: list[float]

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Any]:
        """As a LocalGrid."""
        self.stamps.append(time.perf_counter())
        return super().send_and_receive(messages, timeout=timeout)


def local(of: Task) -> float:
    """Seconds of a round on the engine "local" on all cores, the first ones left out."""
    with Stamped(client_app(), HONEST + F, processes=cores()) as grid:
        grid.stamps = []
        federate(grid, of, parse(CHAIN, F, radius=2.0), attacks.ALIE(), ROUNDS + 5, evaluate_every=10**9)
        return (grid.stamps[-3] - grid.stamps[2]) / ROUNDS


def byzfl(of: Task, name: str) -> Iterator[Any]:
    """The same rounds by ByzFL's own clients, attack and server, as its benchmark runs them."""
    import byzfl as peer

    common = {
        "model_name": name,
        "device": "cpu",
        "learning_rate": of.lr,
        "weight_decay": 0.0,
        "milestones": [],
        "learning_rate_decay": 1.0,
    }
    loaders = [_loader(of, client) for client in range(F, HONEST + F)]
    clients = [peer.Client(common | BYZFL | {"training_dataloader": loader}) for loader in loaders]
    chain = [{"name": "Clipping", "parameters": {"c": 2.0}}, {"name": "NNM", "parameters": {"f": F}}]
    rule = {"aggregator_info": {"name": "GeometricMedian", "parameters": {}}, "pre_agg_list": chain}
    server = peer.Server(common | rule | {"test_loader": loaders[0], "optimizer_name": "SGD"})
    byzantine = peer.ByzantineClient({"name": "ALittleIsEnough", "f": F, "parameters": {"tau": attacks.ALIE().strength(HONEST + F, F)}})
    while True:
        for client in clients:
            client.compute_gradients()
        honest = [client.get_flat_gradients_with_momentum() for client in clients]
        server.update_model_with_gradients(honest + byzantine.apply_attack(honest))
        for client in clients:
            client.set_model_state(server.get_dict_parameters())
        yield None


def _loader(of: Task, client: int) -> Any:
    x, y = training.local_data(of, client)
    data = torch.utils.data.TensorDataset(x.unflatten(1, (1, 28, 28)), y)
    return torch.utils.data.DataLoader(data, batch_size=of.batch_size, shuffle=True)


def timed(rounds: Iterator[Any], count: int = ROUNDS) -> float:
    """Seconds of a round."""
    begun = time.perf_counter()
    for _ in range(count):
        next(rounds)
    return (time.perf_counter() - begun) / count


def main(name: str) -> None:
    """Print a line for each contestant."""
    logging.disable(logging.CRITICAL)
    of = task(name)
    contestants = {"batched": batched(of), "bare loop": bare(of)}
    if importlib.util.find_spec("byzfl"):
        contestants["ByzFL"] = byzfl(of, name)
    times: dict[str, list[float]] = {who: [] for who in (*contestants, "local")}
    for who, rounds in contestants.items():
        timed(rounds, OFTEN + ROUNDS if who == "batched" else ROUNDS)  # what is made once
    for _ in range(TURNS):
        for who, rounds in contestants.items():
            with threadpool_limits(1, "blas"):
                torch.set_num_threads(1 if who != "ByzFL" else cores())
                times[who].append(timed(rounds))
        with threadpool_limits(1, "blas"):
            times["local"].append(local(of))
    ours = median(times["batched"])
    for who, found in times.items():
        print(f"{name}, {who:10s} {1e3 * median(found):7.2f} ms a round, {median(found) / ours:5.2f} times batched")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "fc_mnist")
