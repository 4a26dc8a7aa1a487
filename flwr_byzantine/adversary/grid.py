"""Colluders on the Grid: it replaces the replies of chosen nodes, knowing all honest ones."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from flwr_byzantine.adversary.colluders import Adversary, Harm, Trained, readable
from flwr_byzantine.adversary.nodes import UNNAMED, Nodes, among, partition_of, unnamed
from flwr_byzantine.attacks.base import Attack
from flwr_byzantine.flower.grids import wait_for_all
from flwr_byzantine.flower.mount import Broadcast
from flwr_byzantine.flower.records import array_key, arrays_of, is_train, replace_arrays
from flwr_byzantine.flower.spans import span
from flwr_byzantine.rules.base import Rule

ALONE = "Flower's legacy loop sends to each client by itself, so that a Grid sees one reply at a time: use AdversarialStrategy there"
_ONE_AT_A_TIME = threading.Lock()  # a legacy server sends from several threads


class AdversarialGrid:
    """Wraps a Flower Grid and replaces the training replies of `nodes` by what `attack` makes of all honest ones.

    Works with any strategy of the Message API and any engine, since all of them send a round's messages through the Grid. The
    legacy API's loop (`ServerAppComponents(strategy=...)`) sends to each client by itself, so that a Grid sees no two replies at
    once: there attacks of own knowledge work, and `AdversarialStrategy` is for the others.

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
    Replies that do not fit the broadcast model (errors, other names and sizes) are left as they are, and no attack sees them.

    Raises:
        InvalidParameter: the attack must know the rule, and none is given.

    Attributes:
        attacked: node ids whose replies were replaced when training messages were last sent.
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
        if name == "grid" or name.startswith("__"):  # while a copy is being made
            raise AttributeError(name)
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
            with _ONE_AT_A_TIME:
                self._attack(replies, broadcasts)
                if len(sent) == 1 and "fitins.parameters" in sent[0].content and not self.adversary.own:
                    self.adversary.say(ALONE)
        return replies

    def _attack(self, replies: list[Message], broadcasts: dict[int, Broadcast]) -> None:
        """Replace the replies of this round's attackers."""
        answered = [reply for reply in replies if _node(reply) in broadcasts and array_key(reply)]
        if unnamed(self.nodes, answered):
            self.adversary.say(UNNAMED)
        answers = [(reply, _trained(reply, broadcasts[_node(reply)])) for reply in answered]
        made = self.adversary.act(answers, self._is_bad, next(iter(broadcasts.values())))
        self.attacked = sorted(_node(reply) for reply, _ in made)
        for reply, arrays in made:
            replace_arrays(reply, arrays)

    def _is_bad(self, reply: Message) -> bool:
        return among(self.nodes, _node(reply), reply)


def _trained(reply: Message, broadcast: Broadcast) -> Trained:
    arrays = readable(lambda: arrays_of(reply))
    return Trained(partition_of(_node(reply), reply), broadcast.of(arrays), arrays)


def _node(reply: Message) -> int:
    return int(reply.metadata.src_node_id)


def _broadcasts(messages: list[Message]) -> dict[int, Broadcast]:
    """Node -> what it was sent; messages that share their content, as strategies make them, are read once."""
    contents = {id(message.content): message for message in messages}
    read = {key: Broadcast.in_message(message) for key, message in contents.items()}
    return {message.metadata.dst_node_id: read[id(message.content)] for message in messages}
