"""The Grid of a buffered run: to Flower's loop a round like any other, to the nodes one long exchange without rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flwr.app import Message

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.flower.exchange import late, unreadable
from flwr_byzantine.flower.grids import LONGEST, QuorumGrid
from flwr_byzantine.flower.patience import Patience
from flwr_byzantine.flower.post import post_to
from flwr_byzantine.flower.records import is_train
from flwr_byzantine.strategy.buffered_replies import Given, Waiting
from flwr_byzantine.strategy.inspection import rows_or_reason
from flwr_byzantine.strategy.template import Template

if TYPE_CHECKING:
    from flwr_byzantine.strategy.buffered import Buffered

LOOK = 3.0  # seconds between two looks for nodes that have come, or have been silent for too long


@dataclass(frozen=True)
class UnderWay:
    """A message whose reply has not come yet: what was sent, when, and how long it is waited for."""

    message: Message
    given: Given
    sent: float
    patience: Patience


class BufferedGrid(QuorumGrid):
    """Wraps a Grid: `send_and_receive` of training messages gives a buffer of replies, and leaves the other nodes at work.

    Each node is sent the newest model as soon as it has answered, and no model twice while a buffer is filled, however quickly it
    answers. Its newest valid reply waits in the buffer until it is drawn.

    Args:
        grid: the Grid to wrap.
        strategy: says how large a buffer is, what is too old, and who may be asked; read anew each time.

    Attributes:
        drawn_from: how many valid replies the last buffer was drawn from; 0 before.
    """

    def __init__(self, grid: Any, strategy: Buffered) -> None:
        super().__init__(grid, strategy._patience, strategy._sent, strategy._arrived)
        self.strategy, self.core, self.drawn_from = strategy, strategy.core, 0
        self._limit = LONGEST
        self._post = post_to(grid, lambda: self._limit)
        self._waiting: dict[int, Waiting] = {}
        self._under_way: dict[int, UnderWay] = {}
        self._newest = Given(Template({}), -1)
        self._gone: set[int] = set()  # nodes that left while they were at work; once they are back they are asked again
        self._clocks: list[Patience] = []
        self._next_look = self._post.now() + LOOK

    def end(self) -> None:
        """Nobody waits for a reply any more."""
        self._post.close()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """A buffer of replies to training messages, as replies to the newest model; other messages as `QuorumGrid` does."""
        sent = list(messages)
        if not (sent and is_train(sent[0])):
            return super().send_and_receive(sent, timeout=timeout)
        sent = self.on_sent(sent)
        if not sent:
            return []
        self._begin(sent, LONGEST if timeout is None else timeout)
        self._ask()
        while not (self._full() or self._over()):
            for reply, message in self._post.take(min(self._end, self._next_look)):
                self._take(reply, message)
            self._look()
            if not self._full():
                self._ask()
        return self._filled()

    def _begin(self, sent: list[Message], limit: float) -> None:
        """A buffer begins to fill: with which model, whom the strategy would ask, and for how long."""
        self._asked, self._silent, self._troubles = set[int](), set[int](), dict[int, Message]()
        self._limit = self._patience(len(sent), limit).limit or limit
        self._end = self._post.now() + self._limit
        reports = self.core.state.own
        if self._newest.version < 0 or reports[-1].aggregated:
            self._newest = Given(self.core.template or Template({}), self._newest.version + 1)
        self._like, self._unsent = sent[0], {message.metadata.dst_node_id: message for message in sent}
        self._sampled = list(self._unsent)
        self._there = list(self.grid.get_node_ids())
        self._look()
        self._most = math.inf if len(sent) >= len(self._there) else len(sent)
        self._idle_since: float | None = None
        self._waiting = {node: reply for node, reply in self._waiting.items() if self._allows(node)}
        for node in [node for node, reply in self._waiting.items() if self._too_old(reply.given)]:
            self._trouble(node, self._too_late(self._waiting[node].message, self._waiting[node].given))

    def _ask(self) -> None:
        """Send the newest model to nodes that are free, as many as there is room for."""
        free = [node for node in self._order() if self._may_be_asked(node)]
        nodes = free[: int(min(len(free), max(0, self._most - len(self._under_way))))]
        if not nodes:
            return
        messages, now, clock = [self._message(node) for node in nodes], self._post.now(), self._clock()
        self._under_way |= {node: UnderWay(message, self._newest, now, clock) for node, message in zip(nodes, messages, strict=True)}
        self._asked.update(nodes)
        self._post.send(messages)

    def _order(self) -> list[int]:
        """Whom to ask, in this order: those that the strategy below has sampled, then the others that are there, by lot."""
        others = sorted(set(self._there) - set(self._sampled))
        return [*self._sampled, *(others if math.isinf(self._most) else self.strategy._by_lot(others, "others"))]

    def _may_be_asked(self, node: int) -> bool:
        return not (node in self._under_way or node in self._asked) and self._allows(node)

    def _allows(self, node: int) -> bool:
        """Whether it is not in quarantine."""
        return self.core.allows(node, self.core.current(training=True))

    def _message(self, node: int) -> Message:
        unsent = self._unsent.pop(node, None)
        return unsent or Message(self._like.content, dst_node_id=node, message_type=self._like.metadata.message_type)

    def _clock(self) -> Patience:
        """The clock of messages that are sent now; those that are sent together share one."""
        if not self._clocks or self._post.now() - self._clocks[-1].start >= LOOK:
            self._clocks.append(self._patience(len(self._there), self._limit))
        return self._clocks[-1]

    def _patience(self, n: int, limit: float) -> Patience:
        return self.core.patience(n, True, limit, self._post.now)

    def _take(self, reply: Message, message: Message) -> None:
        """A reply has come: it waits in the buffer, or is in trouble."""
        node = message.metadata.dst_node_id
        asked = self._under_way.get(node)
        if asked is None or asked.message is not message:
            return
        del self._under_way[node]
        if not self._allows(node):
            return
        rows = self._rows(reply, asked.given.template)
        for clock in self._clocks:
            if node not in clock.seconds:
                clock.answered(not isinstance(rows, str), node)
        if isinstance(rows, str):
            self._trouble(node, reply if reply.has_error() else unreadable(message, rows))
        elif self._too_old(asked.given):
            self._trouble(node, self._too_late(message, asked.given))
        else:
            self._troubles.pop(node, None)
            self._silent.discard(node)
            self._waiting[node] = Waiting(reply, rows, asked.given, self._post.now() - asked.sent)  # in the place of an older one

    def _rows(self, reply: Message, template: Template) -> list[Array] | str:
        return rows_or_reason(self.strategy._reply(reply, True), template)

    def _trouble(self, node: int, reply: Message) -> None:
        self._waiting.pop(node, None)
        self._silent.discard(node)
        self._troubles[node] = reply

    def _too_old(self, given: Given) -> bool:
        return self._newest.version - given.version > self.strategy.max_staleness

    def _too_late(self, message: Message, given: Given) -> Message:
        age = self._newest.version - given.version
        return late(message, f"its reply is to the model of {age} rounds ago, more than max_staleness={self.strategy.max_staleness}")

    def _look(self) -> None:
        """Now and then: who has been silent for too long, and who is there."""
        if self._post.now() < self._next_look:
            return
        self._next_look = self._post.now() + LOOK
        self._there = list(self.grid.get_node_ids())
        back = {node for node in self._gone if node in self._there}
        self._gone = {node for node in self._under_way if node not in self._there}
        for node, asked in list(self._under_way.items()):
            if node in back or asked.patience.over():
                del self._under_way[node]
                self._post.withdraw(asked.message)
                self._silent.add(node)
                self._asked.discard(node)
        used = {id(asked.patience) for asked in self._under_way.values()}
        self._clocks = [clock for clock in self._clocks if id(clock) in used]

    def _full(self) -> bool:
        return len(self._waiting) >= self.strategy._wanted()

    def _over(self) -> bool:
        """Whether to go on with what is there: the time is over, or nobody is at work, and nobody comes who could be asked."""
        now, there, wanted = self._post.now(), len(self._there), self.strategy._wanted()
        self._idle_since = None if self._under_way.keys() - self._gone else now if self._idle_since is None else self._idle_since
        if now >= self._end or self._idle_since is None:
            return now >= self._end
        if there >= wanted or not self.core.presence.over(now - self._idle_since, there, wanted):
            return there >= wanted
        self.core.presence.settled = there
        return True

    def _filled(self) -> list[Message]:
        """The buffer's replies as ones to the newest model, and the errors since the buffer before; tells the core whose they are."""
        self.drawn_from = len(self._waiting)
        drawn = {node: self._waiting.pop(node) for node in self.strategy._drawn(list(self._waiting))}
        self.core.asked = sorted({*drawn, *self._troubles, *self._silent} or self._under_way)
        self.core.timing.answered = {node: reply.seconds for node, reply in drawn.items()}
        self.core.timing.staleness = {node: self._newest.version - reply.given.version for node, reply in drawn.items()}
        exponent = self.strategy.staleness_exponent
        return [*(reply.at(self._newest, exponent) for reply in drawn.values()), *self._troubles.values()]
