"""Sending and taking at any time: a message goes out whenever somebody wants it, and replies come in whatever order they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from flwr.app import Message
from flwr.serverapp import Grid

from flwr_byzantine.flower import superlink
from flwr_byzantine.flower.exchange import POLL, as_made, attributed, late, taken
from flwr_byzantine.flower.pulls import Pulls
from flwr_byzantine.flower.uploads import Cost

Taken = tuple[Message, Message]  # a reply, marked with the node that was asked, and the message that it answers


class Post(Protocol):
    """A way to nodes that holds up nobody; a Grid with a clock of its own is one itself (`timed.TimedGrid`)."""

    def now(self) -> float:
        """The time, in seconds."""
        ...

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages that were not sent yet."""
        ...

    def take(self, until: float) -> list[Taken]:
        """The replies that have come, each once; waits a while for the first, and not beyond the time `until`."""
        ...

    def withdraw(self, message: Message) -> None:
        """Nobody waits any more for the reply to this message."""
        ...

    def close(self) -> None:
        """It is over."""
        ...


def post_to(grid: Any, timeout: Callable[[], float | None]) -> Post:
    """The way to the nodes of a Grid.

    Args:
        grid: Flower's own, of which replies are pulled one by one; one with a clock of its own; any other is asked as a whole.
        timeout: seconds that other Grids get, read anew each time.
    """
    if isinstance(grid, Grid):
        return PulledPost(grid)
    if hasattr(type(grid), "take"):  # not of a Grid that it wraps
        own: Post = grid
        return own
    return WholePost(grid, timeout)


class PulledPost:
    """On a Flower Grid: replies are pulled one by one, each within a budget, under the id of the message that they answer.

    Args:
        grid: the Grid.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._pulls: Pulls | None = None
        self._waiting: dict[str, Message] = {}

    def now(self) -> float:
        """The time, in seconds."""
        return time.monotonic()

    def send(self, messages: Sequence[Message]) -> None:
        """Push them; a message that could not be sent is answered by nobody."""
        superlink.make_unguessable(messages)
        if self._pulls is None:
            self._pulls = Pulls(self.grid, Cost.like(messages))
        pushed = {key for key in self.grid.push_messages(messages) if key}
        self._waiting |= {key: message for message in messages if (key := message.metadata.message_id) in pushed}

    def take(self, until: float) -> list[Taken]:
        """The replies that have been pulled, as `exchange` takes them."""
        if self._pulls is None or not self._waiting:
            time.sleep(max(0.0, min(POLL, until - self.now())))
            return []
        self._pulls.look(set(self._waiting))
        found = list(self._pulls.finished(POLL))
        asked = [(reply, self._waiting.pop(key, None)) for key, reply in found]
        return [(taken(reply, message, lambda _: True)[0], message) for reply, message in asked if message is not None]

    def withdraw(self, message: Message) -> None:
        """Its reply is not asked for again."""
        self._waiting.pop(message.metadata.message_id, None)

    def close(self) -> None:
        """Let go of what is still being pulled."""
        if self._pulls is not None:
            self._pulls.__exit__()


class WholePost:
    """On any other Grid: what is sent is answered at once, as the Grid collects.

    Args:
        grid: the Grid.
        timeout: seconds that it gets.
    """

    def __init__(self, grid: Any, timeout: Callable[[], float | None]) -> None:
        self.grid, self.timeout = grid, timeout
        self._come: list[Taken] = []

    def now(self) -> float:
        """The time, in seconds."""
        return time.monotonic()

    def send(self, messages: Sequence[Message]) -> None:
        """Send, and take what the Grid gives, as `exchange` does."""
        silent = {message.metadata.dst_node_id: message for message in messages}
        replies = attributed(messages, as_made(self.grid)(messages, timeout=self.timeout()))
        self._come += [(reply, silent.pop(reply.metadata.src_node_id)) for reply in replies]
        self._come += [(late(message, "no reply"), message) for message in silent.values()]

    def take(self, until: float) -> list[Taken]:
        """What has come: whoever has not answered is told of at once, as one that never will."""
        come, self._come = self._come, []
        if not come:
            time.sleep(max(0.0, min(POLL, until - self.now())))
        return come

    def withdraw(self, message: Message) -> None:
        """Nothing: no message is under way."""

    def close(self) -> None:
        """Nothing is open."""
