"""A Grid in this process whose time is simulated: what slow and silent nodes cost is seen without waiting for them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flwr.app import Message

from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.flower.exchange import checked
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.post import Taken


class TimedGrid(LocalGrid):
    """Nodes 1..n of one ClientApp that take their time, on a clock that stands still while anything is computed.

    A node works on one message after the other. The same arguments give the same run, to the bit.

    Args:
        client_app: any ClientApp.
        n: number of nodes; node i is partition i - 1.
        seconds: from a node and the number of the message to it (1, 2, ...) to the seconds that it works on it; `math.inf` is never.
        there: whether a node is connected at a time; all are by default. A reply that would come while its node is not is lost.
        enough: share of the nodes asked after whose replies `send_and_receive` goes on, for strategies whose rounds wait: replies
            that come later are lost. Buffered rounds do not use it; evaluation by clients does.
        spoil: may change a reply, or return None for no reply; called when it comes.
        run_config: what clients find in `context.run_config`.

    Attributes:
        time: seconds since the Grid was made.

    Raises:
        InvalidParameter: arguments out of range; in a round, where `seconds` gives no number >= 0.

    Example:
        >>> from flwr.app import RecordDict
        >>> from flwr.clientapp import ClientApp
        >>> grid = TimedGrid(ClientApp(), 3, seconds=lambda node, count: 10.0 * node)
        >>> grid.send([Message(RecordDict(), node, "train") for node in (3, 1)])
        >>> [(reply.metadata.src_node_id, grid.time) for reply, _ in grid.take(until=60.0)]
        [(1, 10.0)]
    """

    def __init__(
        self,
        client_app: Any,
        n: int,
        seconds: Callable[[int, int], float],
        there: Callable[[int, float], bool] = lambda node, time: True,
        enough: float = 1.0,
        spoil: Callable[[Message], Message | None] | None = None,
        run_config: Mapping[str, bool | float | int | str] | None = None,
    ) -> None:
        check("TimedGrid", "enough", enough, Constraint(float, ge=0, le=1))
        super().__init__(client_app, n, spoil, run_config=run_config)
        self.seconds, self.there, self.enough, self.time = seconds, there, enough, 0.0
        self._coming: list[tuple[float, int, Message]] = []  # a heap, by the time of the reply and the order of sending
        self._asked: dict[int, int] = {}  # node -> messages to it
        self._free: dict[int, float] = {}  # node -> when it has done what it was sent

    def get_node_ids(self) -> list[int]:
        """The nodes that are connected now."""
        return [node for node in self.contexts if self.there(node, self.time)]

    def now(self) -> float:
        """The time, in seconds."""
        return self.time

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages; each is worked on when its node has done those before."""
        for message in messages:
            self._numbered(message)
            node = message.metadata.dst_node_id
            self._asked[node] = count = self._asked.get(node, 0) + 1
            takes = self.seconds(node, count)
            check("TimedGrid", f"seconds({node}, {count})", takes, Constraint(float, ge=0))
            if math.isfinite(done := max(self.time, self._free.get(node, 0.0)) + takes):
                self._free[node] = done
                heapq.heappush(self._coming, (done, next(self._ids), message))

    def take(self, until: float) -> list[Taken]:
        """The next reply, at its time; none where the time `until` comes first."""
        if not self._coming or self._coming[0][0] > until:
            self.time = max(self.time, until)
            return []
        self.time, _, message = heapq.heappop(self._coming)
        if not self.there(message.metadata.dst_node_id, self.time):
            return []
        reply = self.spoil(self._answer(message))
        return [] if reply is None else [(checked(reply, message), message)]

    def withdraw(self, message: Message) -> None:
        """Its reply is lost; its node works on it all the same."""
        self._coming = [entry for entry in self._coming if entry[2] is not message]
        heapq.heapify(self._coming)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send, and wait until enough have answered, or for `timeout` seconds."""
        with self._alone:
            return self._exchanged(list(messages), timeout)

    def _exchanged(self, sent: list[Message], timeout: float | None) -> list[Message]:
        self.send(sent)
        wanted, end = math.ceil(self.enough * len(sent) - 1e-9), math.inf if timeout is None else self.time + timeout
        replies: list[Message] = []
        while len(replies) < wanted and self.time < end and (self._coming or math.isfinite(end)):
            replies += [reply for reply, asked in self.take(end) if any(asked is message for message in sent)]
        for message in sent:
            self.withdraw(message)
        return replies
