"""One federation of the demo: that of `experiments.tasks`, summed up in what the demo's table shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from flwr.app import ArrayRecord

from flwr_byzantine.attacks import Attack
from flwr_byzantine.experiments.tasks import Task, federation
from flwr_byzantine.rules import Rule
from flwr_byzantine.strategy.report import RoundReport


@dataclass
class Outcome:
    """What happened in one federation.

    Attributes:
        accuracy, loss: on the central test set, after each round, round 0 first.
        seconds: wall time of each round.
        malicious_kept: mean number of malicious clients that the rule kept, a round; for coordinate-wise rules the
            share of the aggregate they own, in clients.
        honest_dropped: mean number of honest clients that it dropped, a round.
        sin_alpha: bound on sin α of each round by its certificate, which holds below 1 with the rest as margin; None where the replies
            are too noisy to say. Empty for FedAvg.
        error: why the run did not finish; "" where it did.
    """

    accuracy: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    malicious_kept: float = 0.0
    honest_dropped: float = 0.0
    sin_alpha: list[float | None] = field(default_factory=list)
    error: str = ""

    @property
    def certified(self) -> int:
        """Rounds whose certificate holds."""
        return sum(sine is not None and sine < 1 for sine in self.sin_alpha)

    @property
    def margin(self) -> float | None:
        """1 - sin α of the round that is best certified; None where no round says anything."""
        return max((1 - sine for sine in self.sin_alpha if sine is not None), default=None)

    @property
    def final(self) -> float:
        """Mean accuracy of the last three rounds: less noisy than the last."""
        last = self.accuracy[1:][-3:]
        return sum(last) / len(last) if last else 0.0


def federate(
    grid: Any,
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
    times, sines = [time.monotonic()], list[float | None]()

    def note(server_round: int, accuracy: float) -> None:
        times.append(time.monotonic())
        on_round(server_round, accuracy)

    def certified(report: RoundReport) -> None:
        sines.append(None if report.certificate is None else report.certificate.sin_alpha)

    setting = replace(task, num_malicious=num_malicious)
    history, arrays = federation.federate(grid, setting, rule, attack, rounds, note, on_report=certified)
    attackers = num_malicious if attack is not None else 0
    kept = attackers * _mean(history.malicious_kept) if attackers else 0.0
    dropped = (task.num_clients - attackers) * _mean(history.honest_dropped)
    seconds = [end - start for start, end in pairwise(times[1:])]
    return Outcome(history.accuracy, history.loss, seconds, kept, dropped, sines), arrays


def _mean(values: list[float]) -> float:
    return sum(values) / max(len(values), 1)
