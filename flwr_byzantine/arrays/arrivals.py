"""`Arrivals`: the inner products of a round's updates, worked out on cores that wait, while others are still to come."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from flwr_byzantine.arrays import compiled, kernels
from flwr_byzantine.arrays.parallel import AfterPart
from flwr_byzantine.arrays.typing import Array


class Arrivals:
    """Gram matrices of rows that come one after another, bit for bit those of one pass over all rows, in whatever order they come.

    A thread takes the rows that have come since its last pass, one or many, and reads the rows before them once for all of these: a row
    is read as often as passes begin after it, which is less often the longer a pass takes. After the last row its own products are left.
    It needs the compiled kernels; where they cannot read a row, nothing is worked out ahead.

    Args:
        origins: per block, the values that deltas are measured from, or None for zeros.
        after_part: called after each part of a pass: `Spill.after_part` where the rows lie in its file.
        expected: how many rows can come, where that is known: the products of the last are left to `grams`, which is called then.

    Attributes:
        passes: how many have begun.

    Example:
        >>> arrivals = Arrivals([None])
        >>> for node, row in ((7, [1.0, 0.0]), (3, [2.0, 1.0])):
        ...     arrivals.add(node, [np.array(row)])
        >>> found = arrivals.grams([3, 7])
        >>> arrivals.close()
        >>> None if found is None else found[0].tolist()
        [[5.0, 2.0], [2.0, 1.0]]
    """

    def __init__(self, origins: Sequence[Array | None], after_part: AfterPart | None = None, expected: int | None = None) -> None:
        self._origins, self._after_part, self._expected = list(origins), after_part, expected
        self._rows: list[list[Array]] = [[] for _ in self._origins]
        self._places: dict[int, int] = {}
        self._grams = [np.zeros((0, 0)) for _ in self._origins]
        self._change, self._passing = threading.Condition(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._failed, self._over = not self._origins, False
        self.passes = 0

    def add(self, node: int, rows: Sequence[Array]) -> None:
        """A usable update has come; it must not change until `close`.

        Args:
            node: whose it is.
            rows: per block, its flat array.
        """
        with self._change:
            self._failed = self._failed or node in self._places or not all(map(_readable, rows, self._origins))
            if self._failed or self._over:
                return
            self._places[node] = len(self._places)
            for block, row in zip(self._rows, rows, strict=True):
                block.append(row)
            self._begin()
            self._change.notify()

    def grams(self, nodes: Sequence[int]) -> list[Array] | None:
        """Per block, the (n, n) inner products of the updates of these nodes less the origin; None where some are not known.

        It waits for the pass that is under way, and works out what is left; no row can be added after it.
        """
        with self._change:
            self._over = True
            self._change.notify()
        if self._failed or not all(node in self._places for node in nodes):
            return None
        self._extend(len(self._places))
        chosen = np.ix_(*[[self._places[node] for node in nodes]] * 2)
        return [G[chosen] for G in self._grams]

    def close(self) -> None:
        """End the thread, after the pass that is under way, and let go of the rows."""
        with self._change:
            self._over = True
            self._change.notify()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        self._rows, self._grams = [], []

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="flwr-byzantine arrivals", daemon=True)
            self._thread.start()

    def _follow(self) -> None:
        """Take what has come, until the round is over."""
        while True:
            with self._change:
                self._change.wait_for(lambda: self._over or self._failed or self._behind())
                if self._over or self._failed:
                    return
                count = len(self._places)
            self._extend(count)

    def _behind(self) -> bool:
        return len(self._grams[0]) < len(self._places) != self._expected

    def _extend(self, count: int) -> None:
        """The products of the first `count` rows, as far as they are not there."""
        with self._passing:
            done = len(self._grams[0])
            if count > done:
                self.passes += 1
                self._grams = [self._extended(b, done, count) for b in range(len(self._grams))]

    def _extended(self, block: int, done: int, count: int) -> Array:
        rows = self._rows[block][:count]
        G = kernels.gram(rows, self._origins[block], after_part=self._after_part, first=done)
        G[:done, :done] = self._grams[block]
        return G


def _readable(row: Array, origin: Array | None) -> bool:
    return compiled.supports([row] if origin is None else [row, origin])
