"""`Arrivals`: inner products and distances of a round's updates, worked out on cores that wait, while others are still to come."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from flwr_byzantine.arrays import compiled, kernels
from flwr_byzantine.arrays.parallel import AfterPart
from flwr_byzantine.arrays.typing import Array


class Arrivals:
    """What rules ask about rows that come one after another, bit for bit what one pass over all rows gives, in whatever order they come.

    A thread takes the rows that have come since its last pass, one or many, and reads the rows before them once for the inner products
    of all of these: a row is read as often as passes begin after it, which is less often the longer a pass takes. After the last row
    its own products are left. For distances to one point each row is read once. It needs the compiled kernels; where they cannot read a
    row, nothing is worked out ahead.

    Args:
        origins: per block, the values that deltas are measured from, or None for zeros.
        after_part: called after each part of a pass: `Spill.after_part` where the rows lie in its file.
        expected: how many rows can come, where that is known: the last is left to whoever asks, which is then at once.
        products: whether inner products are worked out.
        centres: per block, the values that squared distances are worked out to, or None for zeros; None for no distances.

    Attributes:
        passes: how many have begun.

    Example:
        >>> arrivals = Arrivals([None], centres=[None])
        >>> for node, row in ((7, [1.0, 0.0]), (3, [2.0, 1.0])):
        ...     arrivals.add(node, [np.array(row)])
        >>> grams, squares = arrivals.grams([3, 7]), arrivals.squares([3, 7], [None])
        >>> arrivals.close()
        >>> None if grams is None else (grams[0].tolist(), squares[0].tolist())
        ([[5.0, 2.0], [2.0, 1.0]], [5.0, 1.0])
    """

    def __init__(
        self,
        origins: Sequence[Array | None],
        after_part: AfterPart | None = None,
        expected: int | None = None,
        products: bool = True,
        centres: Sequence[Array | None] | None = None,
    ) -> None:
        self._origins, self._after_part, self._expected = list(origins), after_part, expected
        self._products, self._centres = products, None if centres is None else list(centres)
        self._rows: list[list[Array]] = [[] for _ in self._origins]
        self._places: dict[int, int] = {}
        self._done = 0  # rows of which all is known
        self._grams, self._squares = [np.zeros((0, 0)) for _ in self._origins], [np.zeros(0) for _ in self._origins]
        self._room: list[Array] | None = None
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
            others = self._origins if self._centres is None else self._centres
            self._failed = self._failed or node in self._places or not all(map(_readable, rows, self._origins, others))
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
        if not self._products or not self._complete(nodes):
            return None
        chosen = np.ix_(*[[self._places[node] for node in nodes]] * 2)
        return [G[chosen] for G in self._grams]

    def squares(self, nodes: Sequence[int], centres: Sequence[Array | None]) -> list[Array] | None:
        """Per block, the (n,) squared distances of the updates of these nodes to its centre; as `grams`. None where that is another."""
        if self._centres is None or not all(map(_same, centres, self._centres)) or not self._complete(nodes):
            return None
        chosen = [self._places[node] for node in nodes]
        return [squares[chosen] for squares in self._squares]

    def room(self) -> list[Array] | None:
        """Per block, memory for one more row, of undefined content; once, and only where there was time to have the system clear it."""
        room, self._room = self._room, None
        return room

    def _complete(self, nodes: Sequence[int]) -> bool:
        """Whether all is known of these nodes; works out what is left."""
        with self._change:
            self._over = True
            self._change.notify()
        if self._failed or not all(node in self._places for node in nodes):
            return False
        self._extend(len(self._places))
        return True

    def close(self) -> None:
        """End the thread, after the pass that is under way, and let go of the rows."""
        with self._change:
            self._over = True
            self._change.notify()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        self._rows, self._grams, self._squares, self._room = [], [], [], None

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="flwr-byzantine arrivals", daemon=True)
            self._thread.start()

    def _follow(self) -> None:
        """Take what has come, until the round is over."""
        self._room = [np.full_like(rows[0], 0) for rows in self._rows]
        while True:
            with self._change:
                self._change.wait_for(lambda: self._over or self._failed or self._behind())
                if self._over or self._failed:
                    return
                count = len(self._places)
            self._extend(count)

    def _behind(self) -> bool:
        return self._done < len(self._places) != self._expected

    def _extend(self, count: int) -> None:
        """What is asked about the first `count` rows, as far as it is not there."""
        with self._passing:
            if count > self._done:
                self.passes += 1
                if self._products:
                    self._grams = [self._multiplied(b, count) for b in range(len(self._grams))]
                if self._centres is not None:
                    self._squares = [self._measured(b, centre, count) for b, centre in enumerate(self._centres)]
                self._done = count

    def _multiplied(self, block: int, count: int) -> Array:
        rows, done = self._rows[block][:count], self._done
        G = kernels.gram(rows, self._origins[block], after_part=self._after_part, first=done)
        G[:done, :done] = self._grams[block]
        return G

    def _measured(self, block: int, centre: Array | None, count: int) -> Array:
        rows = self._rows[block][self._done : count]
        same = [np.zeros_like(rows[0]) if centre is None else centre] * len(rows)
        return np.concatenate([self._squares[block], kernels.distances(rows, same, self._after_part)])


def _readable(row: Array, *others: Array | None) -> bool:
    return compiled.supports([row, *(other for other in others if other is not None)])


def _same(values: Array | None, centre: Array | None) -> bool:
    return values is centre or (values is not None and centre is not None and np.array_equal(values, centre))
