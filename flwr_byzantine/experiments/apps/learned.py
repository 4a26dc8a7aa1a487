"""A project's model as what a federation learns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord

from flwr_byzantine.adversary import Harm
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.experiments.apps.client import AppClient
from flwr_byzantine.experiments.apps.evaluation import asked, central, federated
from flwr_byzantine.experiments.apps.first import first
from flwr_byzantine.experiments.tasks.server_step import ServerStep
from flwr_byzantine.rules import Rule

UNKNOWN = {"accuracy": math.nan, "loss": math.nan}


class AppModel:
    """What a project's clients learn; a `tasks.learned.Learned`.

    Args:
        client: the clients.
        grid: by which they are asked to evaluate, where the project has no central evaluation function.
        num_clients: of the federation.

    Raises:
        InvalidParameter: there is no first model, or no evaluation function of the name that is given.
    """

    def __init__(self, client: AppClient, grid: Any, num_clients: int) -> None:
        self.client, self.grid = client, grid
        self.first = first(client, num_clients)
        self._central = central(client.app) if client.app.evaluate else None
        self._failures: list[str] = []

    def initial(self) -> ArrayRecord:
        """The first model."""
        return self.first.arrays

    def config(self) -> Mapping[str, Any]:
        """What the project's server tells its clients."""
        return self.first.config

    def record_keys(self) -> Mapping[str, Any]:
        """As the project's server calls them."""
        return {"arrayrecord_key": self.first.arrays_key, "configrecord_key": self.first.config_key}

    def measured(self, server_round: int, arrays: ArrayRecord) -> Mapping[str, float]:
        """Accuracy and loss; NaN where a later model, such as one that an attack has ruined, cannot be evaluated: `notices` says why."""
        try:
            return self.evaluate(server_round, arrays)
        except (Exception, SystemExit) as error:
            if server_round == 0:
                raise
            self._failures.append(f"{type(error).__name__}: {error}")
            return UNKNOWN

    def evaluate(self, server_round: int, arrays: ArrayRecord, clients: int | None = None) -> Mapping[str, float]:
        """Accuracy and loss, by the project's function, or by its clients (the first few of them)."""
        if self._central is not None:
            return self._central(server_round, arrays)
        nodes = list(self.grid.get_node_ids())[:clients]
        messages = asked(self.client.app, self.first, nodes, server_round, arrays)
        return federated(self.client.app, self.grid.send_and_receive(messages))

    def harm(self, step: ServerStep) -> Harm | None:
        """The error that the project's evaluation function finds, for it is the only one that a server can ask; None without one."""
        return None if self._central is None else lambda broadcast, update: self._error(step.model(broadcast, update))

    def servers_own(self, rule: Rule | None) -> Mapping[str, Any]:
        """Nothing: the app's data are its clients'."""
        return {}

    def _error(self, model: Array) -> float:
        found = self.evaluate(1, unflat(self.first.arrays, model))
        loss = found["loss"]
        return 1.0 - found["accuracy"] + 1e-3 * (loss / (1.0 + loss) if math.isfinite(loss) and loss >= 0 else 1.0)

    def notices(self) -> list[str]:
        """How often the evaluation failed, and the last reason."""
        count = len(self._failures)
        return [f"{count} of the models could not be evaluated: {reason}" for reason in self._failures[-1:]]


def unflat(like: ArrayRecord, vector: Array) -> ArrayRecord:
    """A vector of all values as a model of these names, shapes and dtypes.

    Example:
        >>> like = ArrayRecord([np.zeros((1, 2), np.float32), np.zeros(1)])
        >>> [array.tolist() for array in unflat(like, np.arange(3.0)).to_numpy_ndarrays()]
        [[[0.0, 1.0]], [2.0]]
    """
    arrays = {name: array.numpy() for name, array in like.items()}
    parts = np.split(vector, np.cumsum([value.size for value in arrays.values()])[:-1])
    shaped = {name: part.reshape(value.shape).astype(value.dtype) for part, (name, value) in zip(parts, arrays.items(), strict=True)}
    return ArrayRecord({name: FlowerArray(value) for name, value in shaped.items()})
