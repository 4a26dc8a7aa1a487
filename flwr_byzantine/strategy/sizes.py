"""What each array contributes to a round: how far clients are apart in it, and how much of it they and the aggregate change.

Looked at in a sample of each array's values, which costs little beside a rule; it is all of them where they are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.parallel import AfterPart
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Block
from flwr_byzantine.arrays.window import Window

LARGEST = 64  # values looked at in one array: lengths are good to a tenth where the values are like each other
TOGETHER = 1 << 22  # values looked at in all arrays of all replies: 32 MB
ROUNDING = 4 * float(np.finfo(np.float64).eps)
FARTHEST = 1e60  # no array counts more times than this


class Samples:
    """Some values of each of B arrays, at places that are always the same and have no pattern, as the values may have one.

    Args:
        blocks: the arrays, in all n replies; each has a value at least.
        after_part: as for `Updates`, called after each row.

    Attributes:
        deltas: (n, c) float64 differences to the broadcast values, of one array after the other; 0 where they are rounding errors.
    """

    def __init__(self, blocks: Sequence[Block], after_part: AfterPart | None = None) -> None:
        self.blocks = list(blocks)
        size = max(1, min(LARGEST, TOGETHER // sum(len(block.rows) for block in blocks)))
        self._places = [_places(block.width, size) for block in blocks]
        self._counts = np.array([min(block.width, size) for block in blocks])
        self._starts = np.cumsum(self._counts) - self._counts
        self.widths = np.array([block.width for block in blocks])
        self.deltas = self._deltas(list(zip(*(block.rows for block in blocks), strict=True)), after_part)

    def _deltas(self, rows: Sequence[Sequence[Array]], after_part: AfterPart | None = None) -> Array:
        """(len(rows), c) of rows that are given as one flat array for each block."""
        values = np.empty((len(rows), int(self._counts.sum())))
        for k, (block, places, start, count) in enumerate(zip(self.blocks, self._places, self._starts, self._counts, strict=True)):
            part = values[:, start : start + count]
            for target, row in zip(part, rows, strict=True):
                target[...] = row[k][places]
                if after_part is not None:
                    after_part()
            if block.origin is not None:
                _subtract(part, block.origin[places])
        return values

    def typical_sizes(self, centred: bool = True) -> Array:
        """(B,) median lengths of the rows in each array: of their distances to the coordinate-wise median, or to the broadcast values.

        They lie among the lengths of honest rows while these are more than half.

        Example:
            >>> Samples([Block([np.array([k, 0.0]) for k in (1.0, 2.0, 3.0, 5.0, 1e9)])]).typical_sizes().tolist()
            [2.0]
        """
        rows = np.abs(self.deltas - _median(self.deltas) if centred else self.deltas)
        peaks = np.median(np.maximum.reduceat(rows, self._starts, axis=1), axis=0)
        peaks[peaks == 0] = 1.0
        rows /= np.repeat(peaks, self._counts)
        with np.errstate(over="ignore"):
            lengths = np.sqrt(np.add.reduceat(rows**2, self._starts, axis=1))
        return np.asarray(np.median(lengths, axis=0) * peaks * np.sqrt(self.widths / self._counts))

    def moved(self, aggregate: Sequence[Array], f: int, least: float = 0.0) -> Array:
        """(2, B) how many values of each array the clients changed, without the f that changed most, and how many of these the aggregate.

        Args:
            aggregate: what became of each array.
            f: of the rule.
            least: what a client must change a value by, so that rounding errors do not count.

        Example:
            >>> rows = [np.eye(4)[k] for k in range(4)]
            >>> Samples([Block(rows)]).moved([np.array([0.0, 0.5, 0.0, 0.0])], f=1).tolist()
            [[3], [1]]
        """
        changed = np.abs(self.deltas) > least
        loud = np.argsort(-np.add.reduceat(changed, self._starts, axis=1, dtype=np.int64), axis=0, kind="stable")[
            : min(f, len(changed) - 1)
        ]
        quiet = np.ones((len(changed), len(self.blocks)), bool)
        np.put_along_axis(quiet, loud, False, axis=0)
        by_clients = (changed & np.repeat(quiet, self._counts, axis=1)).any(axis=0)
        by_aggregate = by_clients & (self._deltas([aggregate])[0] != 0)
        return np.asarray(np.add.reduceat(np.array([by_clients, by_aggregate]), self._starts, axis=1, dtype=np.int64))


def per_array(samples: Samples) -> list[Block]:
    """The arrays with the scales that make clients equally far apart in each: distances are divided by their typical size.

    An array in which more than half of the clients agree counts as if its values differed like those of the other arrays. The
    array with the largest differences keeps its scale of 1.

    Example:
        >>> wide, narrow = (Block([np.array([k * unit]) for k in (0.0, 1.0, 2.0)]) for unit in (8.0, 1.0))
        >>> [block.scale for block in per_array(Samples([wide, narrow]))]
        [1.0, 8.0]
    """
    sizes, widths = samples.typical_sizes(), np.sqrt(samples.widths)
    apart = sizes > 0
    if not apart.any():
        return samples.blocks
    sizes = np.where(apart, sizes, np.median((sizes / widths)[apart]) * widths)
    scales = np.minimum(sizes.max() / np.maximum(sizes, sizes.max() / FARTHEST), FARTHEST)
    return [replace(block, scale=float(scale)) for block, scale in zip(samples.blocks, scales, strict=True)]


def _median(rows: Array) -> Array:
    out, n = np.empty(rows.shape[1]), len(rows)
    kernels.windows(list(rows), None, Window((n - 1) // 2, n // 2 + 1), None, out)
    return out


@lru_cache(maxsize=1024)
def _places(width: int, size: int) -> slice | Array:
    return slice(None) if width <= size else np.sort(np.random.default_rng(width).integers(width, size=size))


def _subtract(values: Array, origin: Array) -> None:
    """Take the broadcast values from (n, c) `values`; narrow dtypes are rounded from float64, which hides its errors."""
    exact = origin.astype(np.float64)
    values -= exact
    if origin.dtype == np.float64:
        values[np.abs(values) <= ROUNDING * np.abs(exact)] = 0.0
