"""A Grid that does not wait for those who never answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from flwr_byzantine.strategy.policy import Policy

POLL = 0.1  # seconds between two looks; Flower's own is 3 s in deployments
FEW = 4  # replies in memory at a time under spill=


class Patient:
    """Wraps a Grid: takes replies as they come, and goes on once enough are valid and the grace period has passed.

    Late replies are never asked for again. A Grid that is not Flower's own (an attacker's, a test's) decides itself how it
    collects, within `reply_timeout`.

    Args:
        grid: the Grid to wrap.
        policy: `reply_timeout`, `min_valid_replies`, `grace`.
        quorum: how many valid replies are enough when n nodes are asked, where the policy does not say.
        valid: inspects a reply when it arrives.

    Attributes:
        asked: message id -> node id of the last messages sent: who may answer what.
    """

    def __init__(self, grid: Any, policy: Policy, quorum: Callable[[int], int], valid: Callable[[Message], bool]) -> None:
        self.grid, self.policy, self.quorum, self.valid = grid, policy, quorum, valid
        self.asked: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send, and collect what comes in time."""
        limits = [limit for limit in (timeout, self.policy.reply_timeout) if limit is not None]
        limit, sent = min(limits, default=None), list(messages)
        if not sent:
            return []
        if not isinstance(self.grid, Grid):
            self.asked = {}
            return self.grid.send_and_receive(sent, timeout=limit)  # type: ignore[no-any-return]
        return self._collect(sent, limit)

    def _at_once(self, waiting: set[str]) -> list[set[str]]:
        """Which replies to pull together: all, or few where they are moved out of the memory."""
        if self.policy.spill is None:
            return [set(waiting)]
        keys = sorted(waiting)
        return [set(keys[start : start + FEW]) for start in range(0, len(keys), FEW)]

    def _collect(self, sent: list[Message], limit: float | None) -> list[Message]:
        waiting = {key for key in self.grid.push_messages(sent) if key}  # a message that could not be sent has none
        self.asked = {message.metadata.message_id: message.metadata.dst_node_id for message in sent}
        enough = self.policy.min_valid_replies or self.quorum(len(sent))
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
            if not waiting or (since is not None and now - since >= self.policy.grace) or (limit is not None and now - start >= limit):
                break
            time.sleep(POLL)
        return replies
