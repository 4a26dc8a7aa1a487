"""A Grid that does not wait for those who never answer, and believes nothing that a reply says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

from flwr_byzantine.flower.exchange import Attached, exchange, unreadable
from flwr_byzantine.flower.patience import Patience, Quorum
from flwr_byzantine.flower.spans import span

LONGEST = 3600.0  # seconds, where neither Flower nor the strategy says: the default of Flower's `start`


class QuorumGrid(Attached):
    """Wraps a Grid: takes replies as they come, and goes on once enough are valid and the grace period has passed.

    Replies are pulled one by one under the id of the message that they answer, each within a budget, so that none can end,
    hold up or take the place of another. Late ones are never asked for again. A Grid that is not Flower's own (an attacker's,
    a test's) decides itself how it collects, within the limit.

    Args:
        grid: the Grid to wrap.
        patience: gets the messages and the limit in seconds that Flower gives, and gives the clock of the exchange.
        on_sent: gets the messages, and gives back those to send.
        valid: inspects a reply when it arrives; may raise `MalformedUpdate` where nobody else is to see it.

    Attributes:
        unusable: node id -> error, as they came: from the client, or in place of a reply that could not be taken.
    """

    def __init__(
        self,
        grid: Any,
        patience: Callable[[list[Message], float], Patience],
        on_sent: Callable[[list[Message]], list[Message]],
        valid: Callable[[Message], bool],
    ) -> None:
        self.grid, self.patience, self.on_sent, self.valid = grid, patience, on_sent, valid
        self.unusable: dict[int, Message] = {}
        self._held: list[Message] = []
        self._holds_back = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def attach(self, hold_back: bool = True) -> None:
        """Let whoever holds the wrapped Grid, such as another strategy's loop, send and receive through this one.

        Args:
            hold_back: what cannot be used is kept from them, for `held_back`.

        A Grid whose attributes cannot be set stays as it is.
        """
        self._holds_back = hold_back
        with suppress(AttributeError, TypeError):
            self.grid.send_and_receive = self.send_and_receive

    def end(self) -> None:
        """The run is over."""

    def held_back(self) -> list[Message]:
        """The replies of the last exchange that were held back, each once."""
        held, self._held = self._held, []
        return held

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send, and take what comes in time."""
        sent = list(messages)
        sent = self.on_sent(sent) if sent else []
        if not sent:
            return []
        clock = self.patience(sent, LONGEST if timeout is None else timeout)
        replies = exchange(self.grid, sent, clock, clock.limit, self.valid)
        self.unusable.update({reply.metadata.src_node_id: reply for reply in replies if reply.has_error()})
        if not replies and sent[0].metadata.message_type == "get_parameters":
            return [unreadable(sent[0], "no reply in time")]  # Flower's legacy loop takes the first reply for granted
        if not self._holds_back:
            return replies
        usable = {id(reply) for reply in replies if not reply.has_error() and self.valid(reply)}
        self._held = [reply for reply in replies if id(reply) not in usable]
        return [reply for reply in replies if id(reply) in usable]


@span("clients")
def wait_for_all(grid: Any, sent: list[Message], timeout: float | None) -> list[Message]:
    """Send messages and take every reply that comes within `timeout` seconds, on any Grid, as `QuorumGrid` does."""
    return exchange(grid, sent, Patience(Quorum(len(sent) + 1), None, timeout), timeout, Message.has_content)


def is_flowers(grid: Any) -> bool:
    """Whether it is a Grid of Flower's own, whose `send_and_receive` believes what replies say of themselves."""
    return isinstance(grid, Grid) and type(grid).__module__.startswith("flwr.")
