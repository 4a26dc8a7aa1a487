"""What a task's server makes of the aggregate: the model of the next round, by its step size and momentum."""

from __future__ import annotations

from typing import Any

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.strategy.steps import Descent, normed


class ServerStep:
    """The server's steps undone and foreseen: what the rule gave in a round, from the models before and after it, and the reverse.

    Args:
        task: says how the server steps.
        strategy: is asked where its steps are normalised, which do not say how long the aggregate was.

    Attributes:
        round: the last one that was looked at.
        velocity: (d,) the server's momentum after it.

    Example:
        >>> step = ServerStep(Task(server_momentum=0.5))
        >>> step.aggregate(1, np.array([0.0]), np.array([2.0])), step.aggregate(2, np.array([2.0]), np.array([3.0]))
        (array([2.]), array([2.]))
    """

    def __init__(self, task: Task, strategy: Any = None) -> None:
        self.task, self.round, self.velocity = task, 0, np.zeros(1)
        self.descent: Descent | None = strategy.descent if task.normalized and strategy is not None else None

    def aggregate(self, server_round: int, before: Array, now: Array | None) -> Array | None:
        """The aggregate of a round, to be asked for once a round: a model, or under "byzantine-sgd" a gradient.

        Args:
            server_round: from 1.
            before: (d,) the model that was broadcast.
            now: (d,) the model after the round, None where it was skipped; then so is the answer.
        """
        task, self.round = self.task, server_round
        if now is None or (task.method == "local-sgd" and not task.server_step):
            return now
        last, self.velocity = self.velocity, (before - now) / self._rate(server_round)
        if self.descent is not None and self.descent.velocity is not None:
            self.velocity = np.concatenate([block.astype(np.float64) for block in self.descent.velocity])
        found = self.velocity - task.server_momentum * last if task.server_momentum else self.velocity
        return before - found if task.method == "local-sgd" else found

    def model(self, broadcast: Array, update: Array) -> Array:
        """(d,) the model after the round that follows, where the rule gives this update of the broadcast model, or this gradient.

        Example:
            >>> step = ServerStep(Task(server_momentum=0.5))
            >>> _ = step.aggregate(1, np.array([0.0]), np.array([2.0]))
            >>> step.model(np.array([2.0]), np.array([0.5]))
            array([3.5])
        """
        task = self.task
        gradient = -update if task.method == "local-sgd" else update
        if task.server_momentum:
            gradient = gradient + task.server_momentum * self.velocity
        if task.normalized:
            (gradient,) = normed([gradient])
        return np.asarray(broadcast - self._rate(self.round + 1) * gradient)

    def _rate(self, server_round: int) -> float:
        return self.task.server_lr if self.task.method == "local-sgd" else self.task.lr_in(server_round)
