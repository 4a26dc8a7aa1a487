"""What each client of a federation holds from round to round: its share of the data, which attackers may have poisoned."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks import Attack, DataAttack
from flwr_byzantine.experiments.tasks.client import examples
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.experiments.tasks.training import Examples


class Held:
    """Examples by the client's number, each client's made once as long as the attackers are the same.

    Args:
        task: data and clients.
        attack: or None.

    Example:
        >>> held = Held(Task(num_clients=3), None)
        >>> held.begin({}, frozenset())
        >>> x, y = held(0)
        >>> len(x) == len(y)
        True
    """

    def __init__(self, task: Task, attack: Attack | None) -> None:
        self.task, self.poisons = task, attack if isinstance(attack, DataAttack) else None
        self.net = model(task) if self.poisons is not None and self.poisons.asks_model else None
        self.bad: frozenset[int] = frozenset()
        self._found: dict[int, Examples] = {}

    def begin(self, now: Mapping[str, Array], bad: frozenset[int]) -> None:
        """A round with this model and these attackers; data are looked up anew where others are poisoned, or an attack asks the model."""
        if bad != self.bad or self.net is not None:
            self._found.clear()
        self.bad = bad
        if self.net is not None:
            self.net.load_state_dict({name: torch.as_tensor(value) for name, value in now.items()})

    def __call__(self, client: int) -> Examples:
        """One client's examples and labels."""
        if client not in self._found:
            self._found[client] = examples(self.task, client, self.poisons if client in self.bad else None, self.net)
        return self._found[client]
