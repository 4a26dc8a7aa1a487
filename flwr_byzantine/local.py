"""A Grid that runs a ClientApp in this process: Flower's messages and strategies without an engine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import Array, Context, Error, Message, RecordDict
from flwr.app.message.typeddict import TypedDict
from flwr.supercore.task_identity import TaskIdentity


class LocalGrid:
    """Nodes 1..n of one ClientApp, each with a Context of its own that lasts over the rounds.

    Args:
        client_app: any ClientApp.
        n: number of nodes; node i is partition i - 1.
        spoil: may change a reply, or return None for no reply.
        order: may reorder the replies of a round.

    Example:
        >>> from flwr.clientapp import ClientApp
        >>> LocalGrid(ClientApp(), 3).get_node_ids()
        [1, 2, 3]
    """

    def __init__(
        self,
        client_app: Any,
        n: int,
        spoil: Callable[[Message], Message | None] | None = None,
        order: Callable[[list[Message]], list[Message]] | None = None,
    ) -> None:
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1  # what the engine would set; Message() asks for it
        self.client_app, self.n = client_app, n
        self.spoil, self.order = spoil or (lambda reply: reply), order or (lambda replies: replies)
        self.contexts = {i: Context(1, i, {"partition-id": i - 1, "num-partitions": n}, RecordDict(), {}) for i in range(1, n + 1)}

    def get_node_ids(self) -> list[int]:
        """All nodes."""
        return list(self.contexts)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Run the app for each message, one after another."""
        replies = [self._answer(message) for message in messages]
        return self.order([reply for reply in replies if reply is not None])

    def _answer(self, message: Message) -> Message | None:
        node = message.metadata.dst_node_id
        message = copy.copy(message)
        message.__dict__["_content"] = twin(message.content)  # Flower's strategies share one content between messages
        try:
            reply = self.client_app(message, self.contexts[node])
        except Exception as error:
            reply = Message(Error(0, str(error)), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = node
        return self.spoil(reply)


def twin(value: Any) -> Any:
    """A copy of a RecordDict that shares nothing a client can change: as a deep copy, at a tenth of the time.

    Example:
        >>> from flwr.app import ConfigRecord
        >>> old = RecordDict({"config": ConfigRecord({"lr": 0.1})})
        >>> new = twin(old)
        >>> new["config"]["lr"] = 0.2
        >>> old["config"]["lr"]
        0.1
    """
    if isinstance(value, list):
        return list(value)
    if not isinstance(value, TypedDict | Array):
        return value  # numbers, strings and bytes
    made: Any = object.__new__(type(value))
    made.__dict__.update(value.__dict__)
    if isinstance(value, TypedDict):
        made.__dict__["_data"] = {key: twin(item) for key, item in value.items()}
    return made
