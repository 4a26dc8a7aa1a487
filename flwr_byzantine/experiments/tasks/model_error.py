"""How wrong the model is that an aggregate leads to: what an attacker that looks at the model maximises."""

from __future__ import annotations

import math

import numpy as np
import torch

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.experiments.tasks.server_step import ServerStep
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.experiments.tasks.training import evaluate

EXAMPLES = 2000  # of the training data, at most: attackers ask often


class ModelError:
    """The `harm` of an `AdversarialGrid`: the error rate, on training data, of the model that an aggregate leads to.

    To tell apart models that are wrong equally often, l / (1 + l) thousandths are added, where l is the mean loss.

    Args:
        task: gives the model and all clients' training data.
        step: how the server steps, and what momentum it has by now; None is the first round of the task.

    Example:
        >>> task = Task(model="softmax")
        >>> round(ModelError(task)(np.zeros(650), np.zeros(650)), 2)  # all zeros: class 0, in one of ten cases right
        0.9
    """

    def __init__(self, task: Task, step: ServerStep | None = None) -> None:
        data = load(task)
        chosen = np.random.default_rng(task.seed).permutation(len(data.train_y))[:EXAMPLES]
        self.x, self.y, self.net = data.train_x[chosen], data.train_y[chosen], model(task)
        self.state = list(self.net.state_dict().values())
        self.step = ServerStep(task) if step is None else step

    def __call__(self, broadcast: Array, aggregate: Array) -> float:
        """The error after the server's step by the aggregate, an update or under "byzantine-sgd" a gradient; both are (d,)."""
        values = torch.from_numpy(self.step.model(broadcast, aggregate))
        for value, part in zip(self.state, values.split([value.numel() for value in self.state]), strict=True):  # type: ignore[no-untyped-call]  # torch's split has no types
            value.copy_(part.view_as(value))
        loss, accuracy = evaluate(self.net, self.x, self.y)
        return 1.0 - accuracy + 1e-3 * (loss / (1.0 + loss) if math.isfinite(loss) else 1.0)
