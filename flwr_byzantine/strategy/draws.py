"""The run's own randomness: what a strategy draws in a round follows from run and round, not from what came before.

Flower's strategies draw from Python's and NumPy's global generators, and so do Flower's heartbeats and retries, at moments that
nobody knows: under a seed alone, a run that was interrupted, or one that waits for a node, would sample other nodes.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from flwr.server import SimpleClientManager

LOOK = 0.5  # seconds between two looks for nodes


class Draws:
    """Seeds for each round and purpose.

    Args:
        seeds: of the whole run, for Python's and for NumPy's generator; empty before they are drawn.

    Example:
        >>> draws, samples = Draws(("7", "8")), []
        >>> for _ in range(2):
        ...     with draws.of("train", 3):
        ...         samples.append(random.sample(range(1000), 3))
        >>> samples[0] == samples[1]
        True
    """

    def __init__(self, seeds: Sequence[str] = ()) -> None:
        self.seeds = list(seeds)
        self._outside: list[Any] = []

    def choose(self) -> None:
        """Draw the seeds, each from its generator, so that whoever seeds one decides what comes of it."""
        self.seeds = [f"{random.getrandbits(64):x}", f"{np.random.randint(1 << 62):x}"]  # noqa: NPY002 - Flower's and the users' own

    @contextmanager
    def of(self, purpose: str, server_round: int) -> Iterator[Callable[[], None]]:
        """Within the block the global generators are the run's; after it they are as before it.

        Args:
            purpose: "train", "aggregate" or "evaluate".
            server_round: the round's number.

        Yields:
            A function that begins the block's draws anew.
        """
        if not self.seeds:
            self.choose()
        outside = _states()

        def begin() -> None:
            python, numpy = (hashlib.sha256(f"{seed}/{purpose}/{server_round}".encode()).digest() for seed in self.seeds)
            random.seed(python)
            np.random.seed(np.frombuffer(numpy, np.uint32))  # noqa: NPY002

        begin()
        self._outside.append(outside)
        try:
            yield begin
        finally:
            self._outside.pop()
            _restore(outside)

    def outside(self) -> Any:
        """The states of the global generators outside such blocks, as plain data."""
        return self._outside[0] if self._outside else _states()

    def resume(self, outside: Any) -> None:
        """Put the global generators into states that `outside` gave."""
        _restore(outside)


def _states() -> Any:
    return random.getstate(), np.random.get_state()  # noqa: NPY002


def _restore(states: Any) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002


class OrderedGrid:
    """A Grid that names its nodes in the order of their ids, so that the same draw samples the same nodes whenever they came.

    Args:
        grid: the Grid.
        begin: begins the draws anew: while nodes are waited for, Flower's retries draw from the same generators.
    """

    def __init__(self, grid: Any, begin: Callable[[], None]) -> None:
        self.grid, self.begin = grid, begin

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def get_node_ids(self) -> list[int]:
        """The nodes, sorted, once those that the strategy waits for are there: Flower counts its sample from those there before.

        Raises:
            NodesMissing: they do not come in time, where the Grid has a limit.
        """
        pause = 0.0  # the second look, at once, is the first that is told of the waiting
        while len(nodes := sorted(self.grid.get_node_ids())) < getattr(self.grid, "wanted", 0):
            time.sleep(pause)
            pause = LOOK
        self.begin()
        return nodes


class OrderedClients:
    """As `OrderedGrid`, for the legacy API's client manager; one with a way of its own to sample is asked for it as it is."""

    def __init__(self, manager: Any, begin: Callable[[], None]) -> None:
        self.manager, self.begin = manager, begin

    def __getattr__(self, name: str) -> Any:
        return getattr(self.manager, name)

    def sample(self, *counts: Any, **options: Any) -> list[Any]:
        """As the client manager's."""
        if getattr(type(self.manager), "sample", None) is SimpleClientManager.sample:
            return self._sample(*counts, **options)
        self.begin()
        own: list[Any] = self.manager.sample(*counts, **options)
        return own

    def _sample(self, num_clients: int, min_num_clients: int | None = None, criterion: Any = None) -> list[Any]:
        self.manager.num_available()  # in a deployment: looks the nodes up
        self.manager.wait_for(num_clients if min_num_clients is None else min_num_clients)
        ordered = SimpleClientManager()
        ordered.clients = dict(sorted(self.manager.all().items()))
        self.begin()
        return ordered.sample(num_clients, 0, criterion)
