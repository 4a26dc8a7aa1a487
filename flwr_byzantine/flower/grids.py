"""A Grid that does not wait for those who never answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from flwr.app import Message
from flwr.serverapp import Grid

POLL = 0.1  # seconds between two looks; Flower's own is 3 s in deployments
FEW = 4  # replies in memory at a time under spill=


class Waiting(Protocol):
    """How long to wait for whom: the part of a strategy's `Policy` that a Grid reads, anew in each round."""

    reply_timeout: float | None
    min_valid_replies: int | None
    grace: float
    spill: str | Path | None


class QuorumGrid:
    """Wraps a Grid: takes replies as they come, and goes on once enough are valid and the grace period has passed.

    Late replies are never asked for again. A Grid that is not Flower's own (an attacker's, a test's) decides itself how it
    collects, within `reply_timeout`.

    Args:
        grid: the Grid to wrap.
        waiting: `reply_timeout`, `min_valid_replies`, `grace`, `spill`.
        quorum: how many valid replies are enough when n nodes are asked, where `waiting` does not say.
        on_sent: gets the messages, and gives back those to send.
        valid: inspects a reply when it arrives.

    Attributes:
        asked: message id -> node id of the last messages sent: who may answer what.
    """

    def __init__(
        self,
        grid: Any,
        waiting: Waiting,
        quorum: Callable[[int], int],
        on_sent: Callable[[list[Message]], list[Message]],
        valid: Callable[[Message], bool],
    ) -> None:
        self.grid, self.waiting, self.quorum, self.on_sent, self.valid = grid, waiting, quorum, on_sent, valid
        self.asked: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def node_of(self, reply: Message) -> int:
        """The node that was asked, whatever the reply says of its origin, where the wrapped Grid tells."""
        return int(self.asked.get(reply.metadata.reply_to_message_id, reply.metadata.src_node_id))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send, and collect what comes in time."""
        limits = [limit for limit in (timeout, self.waiting.reply_timeout) if limit is not None]
        limit, sent = min(limits, default=None), list(messages)
        sent = self.on_sent(sent) if sent else []
        if not sent:
            return []
        if not isinstance(self.grid, Grid):
            self.asked = {}
            replies: Iterable[Message] = self.grid.send_and_receive(sent, timeout=limit)
            return replies
        return self._collect(sent, limit)

    def _at_once(self, waiting: set[str]) -> list[set[str]]:
        """Which replies to pull together: all, or few where they are moved out of the memory."""
        if self.waiting.spill is None:
            return [set(waiting)]
        keys = sorted(waiting)
        return [set(keys[start : start + FEW]) for start in range(0, len(keys), FEW)]

    def _collect(self, sent: list[Message], limit: float | None) -> list[Message]:
        waiting = {key for key in self.grid.push_messages(sent) if key}  # a message that could not be sent has none
        self.asked = {message.metadata.message_id: message.metadata.dst_node_id for message in sent}
        enough = self.waiting.min_valid_replies or self.quorum(len(sent))
        replies: list[Message] = []
        count, start, since = 0, time.monotonic(), None
        while waiting:
            for keys in self._at_once(waiting):
                for reply in self.grid.pull_messages(keys):
                    waiting.discard(reply.metadata.reply_to_message_id)
                    replies.append(reply)
                    count += self.valid(reply)
            now = time.monotonic()
            since = now if since is None and count >= enough else since
            if not waiting or (since is not None and now - since >= self.waiting.grace) or (limit is not None and now - start >= limit):
                break
            time.sleep(POLL)
        return replies
