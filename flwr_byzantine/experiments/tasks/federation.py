"""One federation on the server's side: a strategy, an attack mounted on the Grid, and what is measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg, Strategy

from flwr_byzantine.adversary import AdversarialGrid, by_partition
from flwr_byzantine.attacks import Attack
from flwr_byzantine.errors import ByzantineError
from flwr_byzantine.experiments.measures import History, evaluated
from flwr_byzantine.experiments.recording import RecordingGrid
from flwr_byzantine.experiments.tasks.evaluator import Evaluator, OnReport, OnRound
from flwr_byzantine.experiments.tasks.learned import Learned, TaskModel
from flwr_byzantine.experiments.tasks.notices import notices
from flwr_byzantine.experiments.tasks.participation import Cohort
from flwr_byzantine.experiments.tasks.sampling import Present, average, client_numbers
from flwr_byzantine.experiments.tasks.server_step import ServerStep
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.flower.spans import span
from flwr_byzantine.rules import Mean, Rule
from flwr_byzantine.strategy import ByzantineSGD, Robust

UNENDING = sys.maxsize  # skipped rounds are counted, and end no run in which any was aggregated


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

    Under "byzantine-sgd" the strategy is `ByzantineSGD`, with the mean for None. `participation` says which clients take part in
    a round, and which of them mount the attack, knowing what its `knowledge` says.

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
    learned, cohort = learned or TaskModel(task, attack), Cohort(task, attack is not None)
    strategy = strategy_of(task, rule, average(task, cohort, **learned.record_keys()), on_report is not None, learned.servers_own(rule))
    step, due = ServerStep(task, strategy), evaluated(rounds, evaluate_every)
    attacked = _attacked(grid, attack, rule, cohort, task.seed, lambda: learned.harm(step))
    recorder: Any = RecordingGrid(attacked or grid, cohort)
    evaluator = Evaluator(learned.measured, strategy, recorder, due, on_round, on_report, step.aggregate)
    there: Any = Present(recorder, cohort, client_numbers(grid, task))
    with span("strategy"):
        result = strategy.start(there, learned.initial(), rounds, train_config=ConfigRecord({**learned.config()}), evaluate_fn=evaluator)
    if not result.arrays or recorder.answers == 0:
        raise ByzantineError(f"no client sent a model in {rounds} rounds, so nothing was trained: {recorder.error or 'no reply came'}")
    evaluator.history.notices = [*learned.notices(), *notices(task, attack, rounds, [] if attacked is None else attacked.notices)]
    return evaluator.history, result.arrays


def _attacked(
    grid: Any, attack: Attack | None, rule: Rule | None, cohort: Cohort, seed: int, harm: Callable[[], Any]
) -> AdversarialGrid | None:
    """The Grid with the attack mounted; one that knows the rule may ask what harm an aggregate would do."""
    if attack is None:
        return None
    return AdversarialGrid(
        grid, attack, by_partition(cohort), Mean() if rule is None else rule, seed, harm() if attack.knowledge == "rule" else None
    )


def strategy_of(task: Task, rule: Rule | None, below: FedAvg, certificate: bool, own: Mapping[str, Any]) -> Strategy:
    """The strategy of a task with a rule, or None for the plain average, over a Flower strategy that averages."""
    policy: Any = {"certificate": certificate, "max_skipped_rounds": UNENDING, **own}
    if task.method == "local-sgd":
        return below if rule is None else Robust(rule, below, **policy)
    policy |= {"normalized": task.normalized, "refresh": task.refresh or None, "refresh_seed": task.seed}
    return ByzantineSGD(Mean() if rule is None else rule, task.schedule, task.server_momentum, below, **policy)
