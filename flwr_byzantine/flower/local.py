"""A Grid that runs a ClientApp in this process: Flower's messages and strategies without an engine."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

from flwr.app import Context, Error, Message, RecordDict

from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import ByzantineError
from flwr_byzantine.flower import compat
from flwr_byzantine.flower.exchange import checked
from flwr_byzantine.flower.processes import ForkedWorker


class LocalGrid:
    """Nodes 1..n of one ClientApp, each with a Context of its own that lasts over the rounds.

    With several processes the others are forked from this one when the first message is sent, and each answers for its
    own nodes. The replies are the same, if the app draws from no generator that nodes share.

    Several threads may send at once, as Flower's legacy server does; each process still runs one client at a time, since
    clients are not written for threads (nor is the parser of Python 3.11, by which NumPy reads arrays: gh-106905). The app
    itself must not send through the Grid that runs it.

    Args:
        client_app: any ClientApp.
        n: number of nodes; node i is partition i - 1.
        spoil: may change a reply, or return None for no reply; what it makes the reply say of its sender is not believed.
        order: may reorder the replies of a round.
        processes: how many share the nodes; `close` (or `with`) ends all but this one.
        run_config: what clients find in `context.run_config`.

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
        run_config: Mapping[str, bool | float | int | str] | None = None,
    ) -> None:
        check(type(self).__name__, "n", n, Constraint(int, ge=1))
        check("LocalGrid", "processes", processes, Constraint(int, ge=1))
        compat.ensure_task_identity()
        self.run = SimpleNamespace(run_id=1)  # which Flower's legacy server asks for
        self.client_app, self.n, self.processes = client_app, n, min(processes, max(n, 1))
        self.spoil, self.order = spoil or (lambda reply: reply), order or (lambda replies: replies)
        configs: list[Any] = [({"partition-id": i, "num-partitions": n}, dict(run_config or {})) for i in range(n)]
        self.contexts = {i: Context(1, i, node, RecordDict(), run) for i, (node, run) in enumerate(configs, start=1)}
        self._forks: list[ForkedWorker] = []
        self._ids = itertools.count(1)
        self._turns = [threading.RLock() for _ in range(self.processes)]  # held by the thread whose nodes the process answers for
        self._alone = threading.RLock()  # for what spoils and orders the replies
        self._starting = threading.Lock()
        self._ended: BaseException | None = None  # why the processes were ended
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
        sent = [self._numbered(message) for message in messages]
        answers = self._replies(sent)
        with self._alone:
            replies = [(self.spoil(reply), message) for reply, message in zip(answers, sent, strict=True)]
            return self.order([checked(reply, message) for reply, message in replies if reply is not None])

    def _numbered(self, message: Message) -> Message:
        return compat.set_metadata(message, message_id=message.metadata.message_id or f"local-{next(self._ids)}")

    def _replies(self, sent: list[Message]) -> list[Message]:
        """One for each message."""
        shares: dict[int, list[Message]] = {}
        for message in sent:
            shares.setdefault(self._process(message), []).append(message)
        self._start()
        with ExitStack() as turns:
            for process in sorted(shares):  # in one order, so that no two threads wait for each other
                turns.enter_context(self._turns[process])
            answers = self._answers(shares)
        return [next(answers[self._process(message)]) for message in sent]

    def _process(self, message: Message) -> int:
        return message.metadata.dst_node_id % self.processes

    def _start(self) -> None:
        with self._starting:
            while len(self._forks) < self.processes - 1:
                self._forks.append(ForkedWorker(self._answer, f"process {len(self._forks) + 2} of the LocalGrid's {self.processes}"))

    def _answers(self, shares: Mapping[int, list[Message]]) -> dict[int, Iterator[Message]]:
        """What each process answers to its share; of this process, which is number 0, while the others are at work."""
        forks = {process: self._forks[process - 1] for process in shares if process}
        try:
            for process, fork in forks.items():
                fork.begin(shares[process])
            own = [self._answer(message) for message in shares.get(0, [])]
            return {0: iter(own), **{process: iter(fork.results()) for process, fork in forks.items()}}
        except BaseException as error:
            first, self._ended = self._ended, self._ended or error
            self.close()  # Ctrl-C, for one: replies that nobody has waited for must not be those of the next round
            if first is not None and isinstance(error, ByzantineError):
                raise first from None  # of which other threads, and later rounds, see that a process is dead
            raise

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        message = compat.with_content(message, compat.copy_content(message.content))  # strategies share one content between messages
        try:
            reply: Message = self.client_app(message, self.contexts[node])
            return compat.set_metadata(reply, src_node_id=node)
        except Exception as error:
            return Message(Error(0, str(error)), reply_to=message)


def _stop(forks: list[ForkedWorker]) -> None:
    for fork in forks:
        fork.stop()
