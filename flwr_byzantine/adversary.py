"""Omniscient colluders: a Grid that replaces the replies of chosen nodes, knowing all honest ones."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from flwr_byzantine.flower.spans import span
from flwr_byzantine.rules.base import Rule

Nodes = Container[int] | Callable[[Message], bool]
Harm = Callable[[Array, Array], float]


def by_partition(partitions: Container[int]) -> Callable[[Message], bool]:
    """Choose nodes by the "partition-id" that their replies carry in a MetricRecord (node ids are random in simulation)."""
    return lambda reply: partition_in(reply) in partitions


@dataclass(frozen=True, eq=False)
class Trained:
    """What one client answered in a training round.

    Attributes:
        partition: its partition id.
        broadcast: what it was sent.
        arrays: name -> array of its reply.
    """

    partition: int
    broadcast: Broadcast
    arrays: Mapping[str, Array]


class Adversary:
    """The attackers of a federation, on arrays: what they send in place of honest replies, round after round.

    Args:
        attack, rule, seed, harm: as for `AdversarialGrid`.

    Attributes:
        notices: why the attack did nothing, each once.

    Raises:
        InvalidParameter: the attack must know the rule, and none is given.

    Example:
        >>> from flwr_byzantine import attacks
        >>> old, new = Broadcast({"w": np.zeros(2)}), {"w": np.ones(2)}
        >>> honest = [Trained(k, old, new) for k in (1, 2)]
        >>> Adversary(attacks.IPM(epsilon=2.0)).replies(honest, [Trained(0, old, new)], old)
        [{'w': array([-2., -2.])}]
    """

    def __init__(self, attack: Attack, rule: Rule | None = None, seed: int = 0, harm: Harm | None = None) -> None:
        self.attack, self.rule, self.seed, self.harm = attack, rule, seed, harm
        if attack.knowledge == "rule":
            attack.required_rule(AttackContext(rule=rule))
        self.notices: list[str] = []
        self._attackers: dict[int | None, Attacker] = {}
        self._context: AttackContext | None = None

    @property
    def own(self) -> bool:
        """Whether each attacker sees its own update alone."""
        return isinstance(self.attack, OwnAttack)

    def enter(self, broadcast: Broadcast) -> None:
        """A round begins: colluders see what is broadcast, whoever answers."""
        self._context = None if self.own else self._entered(self._attacker(None), broadcast)

    def replies(
        self, honest: Sequence[Trained], bad: Sequence[Trained], broadcast: Broadcast, updates: Array | None = None
    ) -> list[dict[str, Array]]:
        """What the attackers send in place of what they have trained; to be called once a round, with one at least of those it sees.

        Where the attack watches, rounds without attackers are among them.

        Args:
            honest: of the others, in the order of the partitions; not looked at by attackers of own knowledge.
            bad: of the attackers, in the order of the partitions.
            broadcast: of the round.
            updates: (h, d) what those whom the attack sees say to the server, where that is known already.
        """
        if self._context is None:
            self.enter(broadcast)
        if updates is None:
            updates = np.array([one.broadcast.update(one.arrays) for one in (bad if self.own else honest)])
        context, self._context = self._context, None
        if context is not None and len(honest) == len(updates):
            context = replace(context, nodes=tuple(one.partition for one in (*honest, *bad)))
        sent = self._each(updates, bad) if context is None else self._attacker(None).vectors(updates, len(bad), context)
        self._notice()
        return _replies(bad, sent)

    def _each(self, updates: Array, bad: Sequence[Trained]) -> list[Array]:
        """What each attacker of own knowledge makes of its own update, or of the one that they share."""
        attackers = [self._attacker(one.partition) for one in bad]
        contexts = [self._entered(attacker, one.broadcast) for attacker, one in zip(attackers, bad, strict=True)]
        shared = isinstance(self.attack, OwnAttack) and self.attack.shares_update
        seen = [updates[0] if shared else update for update in updates]
        return [who.vectors(update[None], 1, context)[0] for who, update, context in zip(attackers, seen, contexts, strict=True)]

    def _entered(self, attacker: Attacker, broadcast: Broadcast) -> AttackContext:
        harm = None
        if self.harm is not None:
            model = broadcast.vector.astype(np.float64)
            harm = partial(self.harm, -model if broadcast.gradients else model)
        seen = broadcast.vector if self.attack.sees_model else None
        return attacker.enter(seen, broadcast.round, harm, broadcast.layout)

    def _attacker(self, partition: int | None) -> Attacker:
        return self._attackers.setdefault(partition, Attacker(self.attack, self.seed, partition, self.rule))

    def _notice(self) -> None:
        """Log what the attackers say of having done nothing, each sentence once."""
        for text in sorted({attacker.notice for attacker in self._attackers.values()} - {"", *self.notices}):
            self.notices.append(text)
            log(WARNING, text)


def _replies(bad: Sequence[Trained], sent: list[Array] | Array) -> list[dict[str, Array]]:
    """The replies that say what is sent; one and the same where all say one vector of one memory in place of one reply."""
    together = isinstance(sent, np.ndarray) and sent.strides[0] == 0
    if together and len({(id(one.broadcast), id(one.arrays)) for one in bad}) == 1:
        return [bad[0].broadcast.reply(bad[0].arrays, sent[0])] * len(bad)
    return [one.broadcast.reply(one.arrays, update) for one, update in zip(bad, sent, strict=True)]


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
        self.grid, self.nodes = grid, nodes
        self.adversary = Adversary(attack, rule, seed, harm)
        self.attacked: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    @property
    def attack(self) -> Attack:
        """The attack."""
        return self.adversary.attack

    @property
    def notices(self) -> list[str]:
        """Why the attack did nothing, each once."""
        return self.adversary.notices

    @span("attack")
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
        first = next(iter(broadcasts.values()))
        self.adversary.enter(first)
        answered = [reply for reply in replies if _node(reply) in broadcasts and array_key(reply)]
        pairs = [(reply, _trained(reply, broadcasts[_node(reply)])) for reply in answered]
        pairs = sorted(((reply, one) for reply, one in pairs if one.broadcast.fits(one.arrays)), key=lambda pair: pair[1].partition)
        bad = [pair for pair in pairs if self._is_bad(pair[0])]
        honest = [one for reply, one in pairs if not self._is_bad(reply)]
        self.attacked = sorted(_node(reply) for reply, _ in bad) if honest or self.adversary.own else []
        if self.attacked or (honest and self.attack.watches):
            for (reply, _), arrays in zip(bad, self.adversary.replies(honest, [one for _, one in bad], first), strict=True):
                replace_arrays(reply, arrays)

    def _is_bad(self, reply: Message) -> bool:
        return self.nodes(reply) if callable(self.nodes) else _node(reply) in self.nodes


def _trained(reply: Message, broadcast: Broadcast) -> Trained:
    told = partition_in(reply)
    return Trained(_node(reply) if told is None else told, broadcast, arrays_of(reply))


def _node(reply: Message) -> int:
    return int(reply.metadata.src_node_id)


def _broadcasts(messages: list[Message]) -> dict[int, Broadcast]:
    """Node -> what it was sent; messages that share their content, as strategies make them, are read once."""
    contents = {id(message.content): message for message in messages}
    read = {key: Broadcast.in_message(message) for key, message in contents.items()}
    return {message.metadata.dst_node_id: read[id(message.content)] for message in messages}
