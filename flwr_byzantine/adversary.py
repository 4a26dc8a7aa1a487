"""Omniscient colluders: a Grid that replaces the replies of chosen nodes, knowing all honest ones."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from flwr_byzantine.attacks.base import Attack, OwnAttack
from flwr_byzantine.kernels import Array
from flwr_byzantine.records import array_key, arrays_of, delta, is_train, origin_of, replace_model
from flwr_byzantine.rules.base import Rule

Nodes = Container[int] | Callable[[Message], bool]


def by_partition(partitions: Container[int]) -> Callable[[Message], bool]:
    """Choose nodes by the "partition-id" that their replies carry in a MetricRecord (node ids are random in simulation)."""

    def chosen(reply: Message) -> bool:
        records = reply.content.metric_records.values()
        return any(record["partition-id"] in partitions for record in records if "partition-id" in record)

    return chosen


class AdversarialGrid:
    """Wraps a Flower Grid; the training replies of `nodes` become what `attack` makes of all honest replies.

    Works with any strategy of either API and any engine, since all of them go through the Grid.

    Args:
        grid: the Grid to wrap; everything but `send_and_receive` is its own.
        attack: any attack. One of own knowledge gets each attacker's own honest update.
        nodes: node ids, or a function of the reply (see `by_partition`).
        rule: the server's rule, for attacks that use it.
        seed: of the attack's randomness, together with the round.

    Attributes:
        attacked: node ids whose replies were replaced in the last training round.

    Example:
        >>> from flwr_byzantine import attacks
        >>> grid = AdversarialGrid(None, attacks.ALIE(), nodes={11, 12})
        >>> grid.attacked
        []
    """

    def __init__(self, grid: Grid | None, attack: Attack, nodes: Nodes, rule: Rule | None = None, seed: int = 0) -> None:
        self.grid, self.attack, self.nodes, self.rule, self.seed = grid, attack, nodes, rule, seed
        self.attacked: list[int] = []
        self._rounds = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send, receive, and replace."""
        sent = list(messages)
        training = bool(sent) and is_train(sent[0])
        broadcast = origin_of(sent[0]) if training else {}
        assert self.grid is not None
        replies = list(self.grid.send_and_receive(sent, timeout=timeout))
        if training:
            self._replace(replies, broadcast)
        return replies

    def _replace(self, replies: list[Message], broadcast: dict[str, Array]) -> None:
        usable = sorted((reply for reply in replies if array_key(reply) is not None), key=lambda reply: reply.metadata.src_node_id)
        bad = [reply for reply in usable if self._is_bad(reply)]
        good = [reply for reply in usable if reply not in bad]
        knows = bad if isinstance(self.attack, OwnAttack) else good
        self.attacked = [reply.metadata.src_node_id for reply in bad] if knows else []
        self._rounds += 1
        if not bad or not knows:
            return
        updates = np.array([delta(arrays_of(reply), broadcast) for reply in knows])
        rng = np.random.default_rng([self.seed, self._rounds])
        for reply, update in zip(bad, self.attack(updates, len(bad), rng, self.rule), strict=True):
            replace_model(reply, broadcast, update)

    def _is_bad(self, reply: Message) -> bool:
        return self.nodes(reply) if callable(self.nodes) else reply.metadata.src_node_id in self.nodes
