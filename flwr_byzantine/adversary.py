"""Omniscient colluders: a Grid that replaces the replies of chosen nodes, knowing all honest ones."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from logging import WARNING
from typing import Any

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.attackers import Attacker
from flwr_byzantine.attacks.base import Attack, AttackContext, OwnAttack
from flwr_byzantine.flower.compat import log
from flwr_byzantine.flower.grids import wait_for_all
from flwr_byzantine.flower.mount import Broadcast
from flwr_byzantine.flower.records import array_key, arrays_of, is_train, partition_in, replace_arrays
from flwr_byzantine.rules.base import Rule

Nodes = Container[int] | Callable[[Message], bool]
Harm = Callable[[Array, Array], float]


def by_partition(partitions: Container[int]) -> Callable[[Message], bool]:
    """Choose nodes by the "partition-id" that their replies carry in a MetricRecord (node ids are random in simulation)."""
    return lambda reply: partition_in(reply) in partitions


class AdversarialGrid:
    """Wraps a Flower Grid and replaces the training replies of `nodes` by what `attack` makes of all honest ones.

    Works with any strategy of either API and any engine, since all of them go through the Grid.

    Args:
        grid: the Grid to wrap; everything but `send_and_receive` is its own.
        attack: any attack. One of own knowledge gets each attacker's own honest update.
        nodes: node ids, or a function of the reply (see `by_partition`).
        rule: the server's rule, for attacks that use it.
        harm: for attacks that look at the model: a function of the broadcast model and an aggregate of this round, both (d,),
            to a number that says how bad the model is that follows, larger is worse.
        seed: of the attack's randomness, at least 0: `default_rng([seed, server round])`, for an attack of own knowledge
            `default_rng([seed, server round, partition id])`, as in malicious clients.

    The round is the message's "server-round", else rounds are counted. Partition ids are the "partition-id" that the replies
    carry in their metrics, or the node ids where they carry none; the rows that the attack sees are in their order. An
    attacker of own knowledge sees what a malicious client would: the last global step is the one since it last took part.
    Replies that do not fit the broadcast model (errors, other names and sizes) are left as they are.

    Raises:
        InvalidParameter: the attack must know the rule, and none is given.

    Attributes:
        attacked: node ids whose replies were replaced in the last training round.
        notices: why the attack did nothing, such as `ALIE` with z = 0, each once; they are logged too.

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
            attack.required_rule(AttackContext(rule=rule))
        self.attacked: list[int] = []
        self.notices: list[str] = []
        self._attackers: dict[int | None, Attacker] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send, receive, and replace."""
        sent = list(messages)
        broadcasts = _broadcasts([message for message in sent if is_train(message)])
        replies = wait_for_all(self.grid, sent, timeout)
        if broadcasts:
            self._attack(replies, broadcasts)
        return replies

    def _attack(self, replies: list[Message], broadcasts: dict[int, Broadcast]) -> None:
        """Replace the replies of this round's attackers."""
        own = isinstance(self.attack, OwnAttack)
        context = None if own else self._enter(self._attacker(None), next(iter(broadcasts.values())))
        trained = [_Trained(reply, broadcasts[node]) for reply in replies if (node := _node(reply)) in broadcasts and array_key(reply)]
        trained.sort(key=lambda one: one.partition)
        bad = [one for one in trained if self._is_bad(one.message) and one.fits()]
        known = bad if own else [one for one in trained if not self._is_bad(one.message) and one.fits()]
        self.attacked = sorted(_node(one.message) for one in bad) if known else []
        if not self.attacked:
            return
        updates = np.array([one.broadcast.update(one.arrays) for one in known])
        sent = self._each(updates, bad) if context is None else self._attacker(None).vectors(updates, len(bad), context)
        for one, update in zip(bad, sent, strict=True):
            replace_arrays(one.message, one.broadcast.reply(one.arrays, update))
        self._notice()

    def _notice(self) -> None:
        """Log what the attackers say of having done nothing, each sentence once."""
        for text in sorted({attacker.notice for attacker in self._attackers.values()} - {"", *self.notices}):
            self.notices.append(text)
            log(WARNING, text)

    def _each(self, updates: Array, bad: list[_Trained]) -> list[Array]:
        """What each attacker of own knowledge makes of its own update, or of the one that they share."""
        attackers = [self._attacker(one.partition) for one in bad]
        contexts = [self._enter(attacker, one.broadcast) for attacker, one in zip(attackers, bad, strict=True)]
        shared = isinstance(self.attack, OwnAttack) and self.attack.shares_update
        seen = [updates[0] if shared else update for update in updates]
        return [who.vectors(update[None], 1, context)[0] for who, update, context in zip(attackers, seen, contexts, strict=True)]

    def _enter(self, attacker: Attacker, broadcast: Broadcast) -> AttackContext:
        model = -broadcast.vector.astype(np.float64) if broadcast.gradients else broadcast.vector.astype(np.float64)
        return attacker.enter(broadcast.vector, broadcast.round, None if self.harm is None else partial(self.harm, model))

    def _attacker(self, partition: int | None) -> Attacker:
        return self._attackers.setdefault(partition, Attacker(self.attack, self.seed, partition, self.rule))

    def _is_bad(self, reply: Message) -> bool:
        return self.nodes(reply) if callable(self.nodes) else _node(reply) in self.nodes


@dataclass(frozen=True, eq=False)
class _Trained:
    """A training reply and the broadcast that it answers."""

    message: Message
    broadcast: Broadcast

    @cached_property
    def partition(self) -> int:
        told = partition_in(self.message)
        return _node(self.message) if told is None else told

    @cached_property
    def arrays(self) -> dict[str, Array]:
        return arrays_of(self.message)

    def fits(self) -> bool:
        return self.broadcast.fits(self.arrays)


def _node(reply: Message) -> int:
    return int(reply.metadata.src_node_id)


def _broadcasts(messages: list[Message]) -> dict[int, Broadcast]:
    """Node -> what it was sent; messages that share their content, as strategies make them, are read once."""
    contents = {id(message.content): message for message in messages}
    read = {key: Broadcast.in_message(message) for key, message in contents.items()}
    return {message.metadata.dst_node_id: read[id(message.content)] for message in messages}
