"""A Grid that runs a ClientApp in this process: Flower's messages and strategies without an engine."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import Array, Context, Error, Message, RecordDict
from flwr.app.message.typeddict import TypedDict
from flwr.supercore.task_identity import TaskIdentity

from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.flower.processes import ForkedWorker


class LocalGrid:
    """Nodes 1..n of one ClientApp, each with a Context of its own that lasts over the rounds.

    With several processes the others are forked from this one when the first message is sent, and each answers for its
    own nodes. The replies are the same, if the app draws from no generator that nodes share.

    Args:
        client_app: any ClientApp.
        n: number of nodes; node i is partition i - 1.
        spoil: may change a reply, or return None for no reply.
        order: may reorder the replies of a round.
        processes: how many share the nodes; `close` (or `with`) ends all but this one.

    Attributes:
        contexts: node -> Context; where there are several processes, only those of the multiples of their number are kept here.

    Raises:
        ByzantineError: in a round, where one of the other processes has ended.

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
        processes: int = 1,
    ) -> None:
        check("LocalGrid", "processes", processes, Constraint(int, ge=1))
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1  # what the engine would set; Message() asks for it
        self.client_app, self.n, self.processes = client_app, n, min(processes, max(n, 1))
        self.spoil, self.order = spoil or (lambda reply: reply), order or (lambda replies: replies)
        self.contexts = {i: Context(1, i, {"partition-id": i - 1, "num-partitions": n}, RecordDict(), {}) for i in range(1, n + 1)}
        self._forks: list[ForkedWorker] = []
        self.close = weakref.finalize(self, _stop, self._forks)

    def __enter__(self) -> LocalGrid:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get_node_ids(self) -> list[int]:
        """All nodes."""
        return list(self.contexts)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Run the app for each message, one after another in each process."""
        replies = [self.spoil(reply) for reply in self._replies(list(messages))]
        return self.order([reply for reply in replies if reply is not None])

    def _replies(self, sent: list[Message]) -> list[Message]:
        """One for each message."""
        shares = [[message for message in sent if self._process(message) == k] for k in range(self.processes)]
        try:
            self._start()
            for fork, share in zip(self._forks, shares[1:], strict=True):
                fork.begin(share)
            answers = [iter([self._answer(message) for message in shares[0]]), *(iter(fork.results()) for fork in self._forks)]
        except BaseException:
            self.close()  # Ctrl-C, for one: replies that nobody has waited for must not be those of the next round
            raise
        return [next(answers[self._process(message)]) for message in sent]

    def _process(self, message: Message) -> int:
        return message.metadata.dst_node_id % self.processes

    def _start(self) -> None:
        while len(self._forks) < self.processes - 1:
            self._forks.append(ForkedWorker(self._answer, f"process {len(self._forks) + 2} of the LocalGrid's {self.processes}"))

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        message = copy.copy(message)
        message.__dict__["_content"] = copy_content(message.content)  # Flower's strategies share one content between messages
        try:
            reply: Message = self.client_app(message, self.contexts[node])
        except Exception as error:
            reply = Message(Error(0, str(error)), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = node
        return reply


def _stop(forks: list[ForkedWorker]) -> None:
    for fork in forks:
        fork.stop()


def copy_content(value: Any) -> Any:
    """A copy of a RecordDict that shares nothing a client can change: as a deep copy, at a tenth of the time.

    Example:
        >>> from flwr.app import ConfigRecord
        >>> old = RecordDict({"config": ConfigRecord({"lr": 0.1})})
        >>> new = copy_content(old)
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
        made.__dict__["_data"] = {key: copy_content(item) for key, item in value.items()}
    return made
