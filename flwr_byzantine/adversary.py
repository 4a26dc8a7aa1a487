"""Omniscient colluders: a Grid that replaces the replies of chosen nodes, knowing all honest ones."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from functools import partial
from typing import Any

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import Attack, AttackContext, Attacker, OwnAttack
from flwr_byzantine.flower.records import (
    array_key,
    arrays_of,
    broadcast_vector,
    delta,
    is_train,
    origin_of,
    partition_in,
    replace_model,
    round_of,
    step_between,
    wants_gradients,
)
from flwr_byzantine.rules.base import Rule

Nodes = Container[int] | Callable[[Message], bool]
Harm = Callable[[Array, Array], float]


def by_partition(partitions: Container[int]) -> Callable[[Message], bool]:
    """Choose nodes by the "partition-id" that their replies carry in a MetricRecord (node ids are random in simulation)."""
    return lambda reply: partition_in(reply) in partitions


class AdversarialGrid:
    """Wraps a Flower Grid; the training replies of `nodes` become what `attack` makes of all honest replies.

    Works with any strategy of either API and any engine, since all of them go through the Grid.

    Args:
        grid: the Grid to wrap; everything but `send_and_receive` is its own.
        attack: any attack. One of own knowledge gets each attacker's own honest update.
        nodes: node ids, or a function of the reply (see `by_partition`).
        rule: the server's rule, for attacks that use it.
        harm: for attacks that look at the model: from the broadcast model and an aggregate of this round, both (d,), to how bad
            the model is that follows, larger is worse.
        seed: of the attack's randomness: `default_rng([seed, server round])`, for an attack of own knowledge
            `default_rng([seed, server round, partition id])`, as in the client mounts.

    The round is the message's "server-round" (else rounds are counted), and the rows that the attack sees are in the order
    of the "partition-id" that the replies carry in their metrics (of the node ids where they carry none).

    Raises:
        InvalidParameter: the attack must know the rule, and none is given.

    Attributes:
        attacked: node ids whose replies were replaced in the last training round.

    Example:
        >>> from flwr_byzantine import attacks
        >>> grid = AdversarialGrid(None, attacks.ALIE(), nodes={11, 12})
        >>> grid.attacked
        []
    """

    def __init__(
        self, grid: Grid | None, attack: Attack, nodes: Nodes, rule: Rule | None = None, seed: int = 0, harm: Harm | None = None
    ) -> None:
        self.grid, self.attack, self.nodes, self.rule, self.seed, self.harm = grid, attack, nodes, rule, seed, harm
        if attack.knowledge == "rule":
            attack.needs_rule(AttackContext(rule=rule))
        self.attacked: list[int] = []
        self._context = AttackContext(round=0)
        self._attackers: dict[int | None, Attacker] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send, receive, and replace."""
        sent = list(messages)
        training = bool(sent) and is_train(sent[0])
        origin = self._enter(sent[0]) if training else {}
        assert self.grid is not None
        replies = list(self.grid.send_and_receive(sent, timeout=timeout))
        if training:
            self._replace(replies, origin)
        return replies

    def _enter(self, message: Message) -> dict[str, Array]:
        """Begin a round; what its updates are measured from."""
        past, heading = self._context, broadcast_vector(message).astype(np.float64)
        harm = None if self.harm is None else partial(self.harm, -heading if wants_gradients(message) else heading)
        self._context = AttackContext(
            round_of(message) or past.round + 1, step_between(past.broadcast, heading), broadcast=heading, harm=harm
        )
        return origin_of(message)

    def _replace(self, replies: list[Message], origin: dict[str, Array]) -> None:
        usable = sorted((reply for reply in replies if array_key(reply) is not None), key=_sender)
        bad = [reply for reply in usable if self._is_bad(reply)]
        knows = bad if self.attack.knowledge == "own" else [reply for reply in usable if reply not in bad]
        self.attacked = sorted(reply.metadata.src_node_id for reply in bad) if knows else []
        if not self.attacked:
            return
        updates = np.array([delta(arrays_of(reply), origin) for reply in knows])
        for reply, update in zip(bad, self._vectors(updates, bad), strict=True):
            replace_model(reply, origin, update)

    def _vectors(self, updates: Array, bad: list[Message]) -> list[Array]:
        if not isinstance(self.attack, OwnAttack):
            return list(self._attacker(None).vectors(updates, len(bad), self._context))
        own = [updates[:1] if self.attack.pools else update[None] for update in updates]
        return [self._attacker(_sender(reply)).vectors(mine, 1, self._context)[0] for reply, mine in zip(bad, own, strict=True)]

    def _attacker(self, who: int | None) -> Attacker:
        return self._attackers.setdefault(who, Attacker(self.attack, self.seed, who, self.rule))

    def _is_bad(self, reply: Message) -> bool:
        return self.nodes(reply) if callable(self.nodes) else reply.metadata.src_node_id in self.nodes


def _sender(reply: Message) -> int:
    partition = partition_in(reply)
    return reply.metadata.src_node_id if partition is None else partition
