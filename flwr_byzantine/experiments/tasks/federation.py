"""One federation on the server's side: a strategy, an attack mounted on the Grid, and what is measured."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from flwr_byzantine.adversary import AdversarialGrid, by_partition
from flwr_byzantine.attacks import Attack
from flwr_byzantine.errors import ByzantineError
from flwr_byzantine.experiments.measures import History, RecordingGrid, evaluated
from flwr_byzantine.experiments.tasks.evaluator import Evaluator, OnReport, OnRound
from flwr_byzantine.experiments.tasks.learned import Learned, TaskModel
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.flower.codec import FastArray
from flwr_byzantine.rules import Mean, Rule
from flwr_byzantine.strategy import ByzantineSGD, Robust


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
    grid: Any,
    task: Task,
    rule: Rule | None,
    attack: Attack | None,
    rounds: int,
    on_round: OnRound = lambda _round, _accuracy: None,
    evaluate_every: int = 1,
    on_report: OnReport | None = None,
    learned: Learned | None = None,
) -> tuple[History, ArrayRecord]:
    """Run one federation: FedAvg where `rule` is None, else `Robust(rule)`.

    Under "byzantine-sgd" the strategy is `ByzantineSGD`, with the mean for None. All clients take part in each round;
    where there is an attack, clients 0..num_malicious-1 mount it, knowing what its `knowledge` says.

    Args:
        grid: of the engine, or a `LocalGrid`.
        task: data and training.
        rule: a rule or chain, or None.
        attack: or None.
        rounds: number of rounds.
        on_round: gets round and test accuracy after each evaluation, and round 0 before the first.
        evaluate_every: the model is evaluated in round 0, after each so many rounds, and in each of the last three.
        on_report: gets the report of each round of a robust strategy, with a certificate.
        learned: what the clients learn; None is the task's data and model, for the clients of `client_app`.

    Returns:
        What was measured, and the final model.

    Raises:
        ByzantineError: no client ever answered with a model.
        InvalidParameter: the data cannot be divided among so many clients.

    Example:
        >>> from flwr_byzantine.flower.local import LocalGrid
        >>> from flwr_byzantine.experiments.tasks.client import client_app
        >>> task = Task(partition="sorted", num_clients=3, local_epochs=1)
        >>> history, _ = federate(LocalGrid(client_app(), 3), task, None, None, rounds=2)
        >>> len(history.accuracy), history.malicious_share
        (3, [0.0, 0.0])
    """
    torch.set_num_threads(1)
    learned = TaskModel(task, attack) if learned is None else learned
    nodes = wait_for_nodes(grid, task.num_clients)
    malicious = range(task.num_malicious if attack is not None else 0)
    counts: dict[str, Any] = {"min_train_nodes": len(nodes), "min_available_nodes": len(nodes), "min_evaluate_nodes": 0}
    average = _FedAvg(fraction_evaluate=0.0, **counts, **learned.record_keys())
    strategy = _strategy(task, rule, average, on_report is not None)
    attacked = None if attack is None else _attacked(attack, grid, task, rule, malicious, learned)
    recorder: Any = RecordingGrid(attacked or grid, malicious)
    step = task.lr if isinstance(strategy, ByzantineSGD) else None
    evaluator = Evaluator(learned.measured, strategy, recorder, evaluated(rounds, evaluate_every), on_round, on_report, step)
    config = ConfigRecord({**learned.config()})
    result = strategy.start(recorder, learned.initial(), rounds, train_config=config, evaluate_fn=evaluator)
    if not result.arrays or recorder.answers == 0:
        raise ByzantineError(f"no client sent a model in {rounds} rounds, so nothing was trained: {recorder.error or 'no reply came'}")
    evaluator.history.notices = [*learned.notices(), *([] if attacked is None else _notices(attacked, task, rounds))]
    return evaluator.history, result.arrays


def _notices(grid: AdversarialGrid, task: Task, rounds: int) -> list[str]:
    """What is to be said of an attack that does nothing, each sentence once."""
    expected = grid.attack.idle(task.num_clients, task.num_malicious, rounds)
    return list(dict.fromkeys(text for text in (expected, *grid.notices) if text))


def _attacked(attack: Attack, grid: Any, task: Task, rule: Rule | None, malicious: Container[int], learned: Learned) -> AdversarialGrid:
    harm = learned.harm() if attack.knowledge == "rule" else None
    return AdversarialGrid(grid, attack, by_partition(malicious), Mean() if rule is None else rule, task.seed, harm)


def _strategy(task: Task, rule: Rule | None, average: FedAvg, certificate: bool) -> Strategy:
    if task.method == "byzantine-sgd":
        return ByzantineSGD(Mean() if rule is None else rule, step_size=task.lr, strategy=average, certificate=certificate)
    return average if rule is None else Robust(rule, average, certificate=certificate)


class _FedAvg(FedAvg):
    """Flower's FedAvg with the same results, bit for bit, without reading npy headers, most of its time in small models."""

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        received = list(replies)
        for record in (record for reply in received if reply.has_content() for record in reply.content.values()):
            if isinstance(record, ArrayRecord):
                FastArray.make(record)
        return super().aggregate_train(server_round, received)
