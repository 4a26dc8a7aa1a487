"""The way of replies as Flower's SuperLink has it: pulled under the id of the message that they came for, whatever they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from flwr_byzantine.flower.compat import set_metadata
from flwr_byzantine.flower.local import LocalGrid


@dataclass(frozen=True)
class Letter:
    """A reply on its way.

    Attributes:
        asked: the message that it came for.
        reply: what the node answered.
        victim: what an innocent node was sent at the same time.
        before: the same node's reply to the message before, or None.
    """

    asked: Message
    reply: Message
    victim: Message
    before: Message | None


Tamper = Callable[[Letter], list[Any]]
"""What is pulled in place of a reply: messages, and exceptions that pulling raises."""


class Wire(Grid):
    """A Flower Grid in process, on which chosen nodes write what they like into replies and their metadata.

    As on Flower's own, `send_and_receive` pulls all replies in one call and returns what they are.

    Args:
        grid: whose nodes answer.
        nodes: the hostile ones.
        tamper: what is pulled in place of their replies.

    Example:
        >>> from flwr.clientapp import ClientApp
        >>> Wire(LocalGrid(ClientApp(), 3), (1,), lambda letter: [letter.reply] * 2).get_node_ids()
        [1, 2, 3]
    """

    def __init__(self, grid: LocalGrid, nodes: tuple[int, ...], tamper: Tamper) -> None:
        self.grid, self.nodes, self.tamper = grid, nodes, tamper
        self._waiting: dict[str, list[Any]] = {}
        self._before: dict[int, Message] = {}
        self._sent = 0

    def set_run(self, run: Any) -> None:
        """Nothing: there is one run."""

    @property
    def run(self) -> Any:
        """There is none to tell of."""
        raise NotImplementedError("a federation in process has no run")

    def create_message(self, *_: Any, **__: Any) -> Message:
        """Flower's older way to make messages."""
        raise NotImplementedError("make messages by Message(...)")

    def get_node_ids(self) -> Iterable[int]:
        """All nodes."""
        return self.grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Give each message an id, and have it answered."""
        sent = [set_metadata(message, message_id=f"{self._sent + place:064x}") for place, message in enumerate(messages, 1)]
        self._sent += len(sent)
        replies = {reply.metadata.reply_to_message_id: reply for reply in self.grid.send_and_receive(sent)}
        innocent = next((message for message in sent if message.metadata.dst_node_id not in self.nodes), None)
        for message in sent:
            reply = replies.get(message.metadata.message_id)
            self._waiting[message.metadata.message_id] = [] if reply is None else self._pulled(message, reply, innocent or message)
        return [message.metadata.message_id for message in sent]

    def _pulled(self, message: Message, reply: Message, innocent: Message) -> list[Any]:
        node = message.metadata.dst_node_id
        if node not in self.nodes:
            return [reply]
        letter = Letter(message, reply, innocent, self._before.get(node))
        self._before[node] = reply
        return self.tamper(letter)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """What came for these messages.

        Raises:
            Exception: one of the replies cannot be read.
        """
        found = [item for key in message_ids for item in self._waiting.pop(key, [])]
        for item in found:
            if isinstance(item, Exception):
                raise item
        return found

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """As Flower's: whatever is pulled under the ids of all these messages."""
        return self.pull_messages(self.push_messages(messages))
