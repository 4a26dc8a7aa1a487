"""Waiting for nodes to appear: Flower's strategies wait for ever, its legacy client managers for a day; here there is a limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from logging import INFO
from typing import Any, Protocol

from flwr.server import ClientManager
from flwr.server.client_proxy import ClientProxy

EVERY = 10.0  # seconds between two lines of the log
AGAIN = 3.0  # seconds, where the nodes there were enough before: the time of two looks of Flower's, at the least
LOOK = 0.5  # seconds between two looks at a legacy client manager
GAP = 30.0  # seconds between two questions for the nodes of which more is no waiting
CALLS = 3  # questions that a strategy asks without waiting


class NodesMissing(Exception):
    """Too few nodes are there, and the time to wait for more is over; `there` says how many."""

    def __init__(self, there: int) -> None:
        super().__init__(f"{there} nodes are there, which is not enough")
        self.there = there


class Waiting(Protocol):
    """The part of a strategy's `Policy` that is read, anew each time."""

    node_timeout: float


class Presence:
    """How long more nodes are waited for, and what the log says of it.

    Once a round was run without them, nobody waits for them again until all are there.

    Args:
        waiting: `node_timeout`, in seconds.
        log: takes a level of `logging` and a text.

    Attributes:
        settled: with how many nodes rounds are run for want of more; None where there is no want.

    Example:
        >>> from types import SimpleNamespace
        >>> presence = Presence(SimpleNamespace(node_timeout=0.0), print)
        >>> presence.over(waited=0.0, there=3, wanted=5)
        True
    """

    def __init__(self, waiting: Waiting, log: Callable[[int, str], None]) -> None:
        self.waiting, self.log = waiting, log
        self.settled: int | None = None
        self._said = 0.0

    def over(self, waited: float, there: int, wanted: int) -> bool:
        """Whether the time is over.

        Args:
            waited: seconds since the waiting began.
            there: nodes there.
            wanted: nodes that are wanted; 0 where nobody knows.
        """
        self.settled = None if there >= wanted > 0 else self.settled
        left = (AGAIN if self.settled is not None and there >= self.settled else self.waiting.node_timeout) - waited
        now = time.monotonic()
        if left > 0 and waited > 0 and not there >= wanted > 0 and now - self._said >= EVERY:
            self._said = now
            self.log(INFO, f"waiting for nodes: {there} there, {wanted or 'more'} wanted, {left:.0f} s more")
        return left <= 0


class PresentGrid:
    """Wraps a Grid while a strategy chooses its nodes: one that goes on asking which there are gets `NodesMissing` in the end.

    Args:
        grid: the Grid to wrap.
        presence: for how long.
        wanted: how many nodes the strategy wants at least; 0 where nobody knows.
    """

    def __init__(self, grid: Any, presence: Presence, wanted: int) -> None:
        self.grid, self.presence, self.wanted = grid, presence, wanted
        self.waited, self.calls = 0.0, 0
        self._last = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def get_node_ids(self) -> list[int]:
        """The nodes that are there.

        Raises:
            NodesMissing: so many calls were made, over so long a time, that the caller waits for more.
        """
        nodes, now = list(self.grid.get_node_ids()), time.monotonic()
        self.waited += min(now - self._last, GAP) if self.calls else 0.0
        self.calls, self._last = self.calls + 1, now
        if self.presence.over(self.waited, len(nodes), self.wanted) and self.calls > CALLS:
            raise NodesMissing(len(nodes))
        return nodes


class PresentManager(ClientManager):
    """Wraps a legacy client manager: where the clients wanted do not come in time, those there are sampled, or none.

    Args:
        manager: the one to wrap.
        presence: for how long.
        enough: whether so many clients are enough to go on.

    Attributes:
        short: how many were there and how many wanted, where no more came and these were not enough; empty otherwise.
    """

    def __init__(self, manager: ClientManager, presence: Presence, enough: Callable[[int], bool]) -> None:
        self.manager, self.presence, self.enough = manager, presence, enough
        self.short = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.manager, name)

    def over(self, manager: Any) -> PresentManager:
        """The same over another manager."""
        return PresentManager(manager, self.presence, self.enough)

    def num_available(self) -> int:
        """The manager's."""
        return self.manager.num_available()

    def register(self, client: ClientProxy) -> bool:
        """The manager's."""
        return self.manager.register(client)

    def unregister(self, client: ClientProxy) -> None:
        """The manager's."""
        self.manager.unregister(client)

    def all(self) -> dict[str, ClientProxy]:
        """The manager's."""
        return self.manager.all()

    def wait_for(self, num_clients: int, timeout: int = 86400) -> bool:
        """Whether so many clients are there, at once or in time; `timeout` counts where it is less than what that says."""
        start = time.monotonic()
        while (there := self.manager.num_available()) < num_clients:
            waited = time.monotonic() - start
            if self.presence.over(waited, there, num_clients) or waited >= timeout:
                return False
            time.sleep(min(LOOK, self.presence.waiting.node_timeout))
        self.presence.over(0.0, there, num_clients)
        return True

    def sample(self, num_clients: int, min_num_clients: int | None = None, criterion: Any = None) -> list[ClientProxy]:
        """As many clients as are asked for; where they do not come in time, those there if they are enough, else none."""
        wanted = max(num_clients, min_num_clients or 0)
        if not self.wait_for(wanted):
            there = self.manager.num_available()
            self.short = (
                ""
                if self.enough(there)
                else f"{there} clients are there after {self.presence.waiting.node_timeout:g} s, {wanted} are wanted"
            )
            if self.short:
                return []
            self.presence.settled, num_clients, wanted = there, min(num_clients, there), there
        only = {} if criterion is None else {"criterion": criterion}
        return self.manager.sample(num_clients=num_clients, min_num_clients=wanted, **only)
