"""Flower apps for a `Task`: the ClientApp, and one federation on the server's side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from flwr_byzantine.adversary import AdversarialGrid, by_partition
from flwr_byzantine.attacks import Attack
from flwr_byzantine.client import gradient_reply
from flwr_byzantine.demo import task as tasks
from flwr_byzantine.demo.task import Task
from flwr_byzantine.errors import ByzantineError
from flwr_byzantine.rules import Mean, Rule
from flwr_byzantine.strategy import ByzantineSGD, Robust


def client_app() -> ClientApp:
    """A ClientApp that reads its `Task` from the message's config, so that one app serves every experiment."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        task, net, client = _prepare(message, context)
        server_round = int(message.content.config_records["config"]["server-round"])  # type: ignore[arg-type]
        if task.method == "byzantine-sgd":
            batches = tasks.batches(task, client, server_round)
            identity = {"partition-id": client, "num-examples": sum(len(y) for _, y in batches)}
            return gradient_reply(message, context, net, _cross_entropy, batches, momentum=task.momentum, metrics=identity)
        loss, examples = tasks.train(net, task, client, server_round)
        metrics = MetricRecord({"num-examples": examples, "partition-id": client, "train-loss": loss})
        return Message(content=RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        task, net, client = _prepare(message, context)
        data, rows = tasks.load(task), torch.from_numpy(tasks.partitions(task)[client])
        loss, accuracy = tasks.evaluate(net, data.train_x[rows], data.train_y[rows])
        metrics = MetricRecord({"num-examples": len(rows), "partition-id": client, "loss": loss, "accuracy": accuracy})
        return Message(content=RecordDict({"metrics": metrics}), reply_to=message)

    return app


def _cross_entropy(net: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(net(batch[0]), batch[1])


def _prepare(message: Message, context: Context) -> tuple[Task, torch.nn.Module, int]:
    config = message.content.config_records["config"]
    task = Task(**{item.name: config[item.name] for item in fields(Task)})  # type: ignore[arg-type]
    net = tasks.model(task)
    net.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    return task, net, int(context.node_config["partition-id"])


@dataclass
class Outcome:
    """One federation's course.

    Attributes:
        accuracy, loss: on the central test set, after each round, round 0 first.
        seconds: wall time of each round.
        malicious_kept: mean number of malicious clients that the rule kept, a round; for coordinate-wise rules the
            share of the aggregate they own, in clients.
        honest_dropped: mean number of honest clients that it dropped, a round.
        error: why the run did not finish; "" where it did.
    """

    accuracy: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    malicious_kept: float = 0.0
    honest_dropped: float = 0.0
    error: str = ""

    @property
    def final(self) -> float:
        """Mean accuracy of the last three rounds: less noisy than the last."""
        last = self.accuracy[1:][-3:]
        return sum(last) / len(last) if last else 0.0


def wait_for_nodes(grid: Grid, count: int, timeout: float = 120.0) -> list[int]:
    """Node ids once `count` nodes are there: in simulation the server starts before they are registered.

    Raises:
        ByzantineError: fewer came within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while len(found := list(grid.get_node_ids())) < count:
        if time.monotonic() > deadline:
            raise ByzantineError(f"expected {count} nodes, only {len(found)} registered within {timeout:.0f} s; check num-supernodes")
        time.sleep(0.1)
    return found


def federate(
    grid: Grid,
    task: Task,
    rule: Rule | None,
    attack: Attack | None,
    num_malicious: int,
    rounds: int,
    on_round: Callable[[int, float], None] = lambda _round, _accuracy: None,
) -> tuple[Outcome, ArrayRecord]:
    """Run one federation: FedAvg where `rule` is None, else `Robust(rule)`; clients 0..num_malicious-1 attack.

    Returns:
        What happened, and the final model.
    """
    nodes = wait_for_nodes(grid, task.num_clients)
    bad = range(num_malicious) if attack is not None else range(0)
    average = FedAvg(fraction_evaluate=0.0, min_train_nodes=len(nodes), min_available_nodes=len(nodes), min_evaluate_nodes=0)
    strategy = _strategy(task, rule, average)
    mounted: Any = grid if attack is None else AdversarialGrid(grid, attack, by_partition(bad), rule, task.seed)
    course, census = Outcome(), _Census(mounted, bad)
    data, net, start = tasks.load(task), tasks.model(task), time.monotonic()

    def measure(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        nonlocal start
        course.seconds.append(time.monotonic() - start)
        net.load_state_dict(arrays.to_torch_state_dict())
        loss, accuracy = tasks.evaluate(net, data.test_x, data.test_y)
        course.loss.append(loss)
        course.accuracy.append(accuracy)
        on_round(server_round, accuracy)
        start = time.monotonic()
        return MetricRecord({"accuracy": accuracy, "loss": loss})

    config = ConfigRecord(asdict(task))
    result = strategy.start(census, ArrayRecord(net.state_dict()), rounds, train_config=config, evaluate_fn=measure)  # type: ignore[arg-type]
    if not result.arrays or census.answers == 0:
        raise ByzantineError(f"no client sent a model in {rounds} rounds, so nothing was trained: {census.error or 'no reply came'}")
    course.seconds = course.seconds[1:]
    course.malicious_kept, course.honest_dropped = census.count(strategy.reports if isinstance(strategy, Robust) else None)
    return course, result.arrays


def _strategy(task: Task, rule: Rule | None, average: FedAvg) -> Strategy:
    if task.method == "byzantine-sgd":
        return ByzantineSGD(Mean() if rule is None else rule, step_size=task.lr, strategy=average)
    return average if rule is None else Robust(rule, average)


class _Census:
    """A Grid that notes which node is which partition, to tell malicious from honest in the reports."""

    def __init__(self, grid: Any, bad: range) -> None:
        self.grid, self.bad, self.partition = grid, bad, dict[int, int]()
        self.answers, self.error = 0, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> Any:
        replies = list(self.grid.send_and_receive(messages, timeout=timeout))
        for reply in replies:
            if reply.has_error():
                self.error = reply.error.reason or "an error without a reason"
            elif reply.has_content():
                self.answers += 1
                self.partition[reply.metadata.src_node_id] = int(reply.content["metrics"]["partition-id"])
        return replies

    def count(self, reports: Any) -> tuple[float, float]:
        """Malicious kept and honest dropped, mean over the rounds; a plain average keeps everybody."""
        if reports is None:
            return float(len(self.bad)), 0.0
        kept, dropped = 0.0, 0.0
        for report in reports:
            for node, entry in report.nodes.items():
                malicious = self.partition.get(node) in self.bad
                if malicious and entry.status == "kept":
                    kept += 1.0 if entry.score is not None else min(1.0, entry.weight * report.n_valid)
                dropped += not malicious and entry.status != "kept"
        return kept / max(len(reports), 1), dropped / max(len(reports), 1)
