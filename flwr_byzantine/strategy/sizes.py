"""What each array contributes to a round: how far clients are apart in it, and how much of it they and the aggregate change.

Looked at in a sample of each array's values, which costs little beside a rule; it is all of them where they are few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.geometry import HUGE, TINY, Limits, sq_distances
from flwr_byzantine.arrays.parallel import AfterPart
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.window import Window
from flwr_byzantine.theory.certificate import typical_distance

Made = TypeVar("Made")
LARGEST = 64  # values looked at in one array: lengths are good to a tenth where the values are like each other
TOGETHER = 1 << 22  # values looked at in all arrays of all replies: 32 MB
SPARSE = 0.25  # where half of the replies change a smaller share of these, an array is looked at where they change it
CLOSER = 16  # times as many values of such an array
ROUNDING = 4 * float(np.finfo(np.float64).eps)
LONGEST = 1e300  # as a length
FARTHEST = 1e60  # no array counts more times than this


class Samples:
    """Some values of each of B arrays, at places that are always the same and have no pattern, as the values may have one.

    Of an array that most replies change in few places (embedding rows), those values are looked at which the half of them with the
    fewest changes changes. What is large in few places and small everywhere else is not seen.

    Args:
        blocks: the arrays, in all n replies; each has a value at least.
        after_part: as for `Updates`, called after each row.

    Attributes:
        deltas: (n, c) float64 differences to the broadcast values, of one array after the other; 0 where they are rounding errors.
        widths: (B,) sizes of the arrays.
    """

    def __init__(self, blocks: Sequence[Block], after_part: AfterPart | None = None) -> None:
        self.blocks, self.widths = list(blocks), np.array([block.width for block in blocks])
        size = max(1, min(LARGEST, TOGETHER // sum(len(block.rows) for block in blocks)))
        looks = [_Look.at(block, size, after_part) for block in blocks]
        self._places, self._changing = [look.places for look in looks], np.array([look.among for look in looks])
        self._counts = np.array([look.deltas.shape[1] for look in looks])
        self._starts = np.cumsum(self._counts) - self._counts
        self.deltas = np.concatenate([look.deltas for look in looks], axis=1)

    def typical_sizes(self, centred: bool = True) -> Array:
        """(B,) median lengths of the rows in each array: of their distances to the coordinate-wise median, or to the broadcast values.

        They lie among the lengths of honest rows while these are more than half.

        Example:
            >>> Samples([Block([np.array([k, 0.0]) for k in (1.0, 2.0, 3.0, 5.0, 1e9)])]).typical_sizes().tolist()
            [2.0]
        """
        rows = np.abs(self.deltas - _median(self.deltas) if centred else self.deltas)
        peaks = _middle(np.maximum.reduceat(rows, self._starts, axis=1))
        peaks[peaks == 0] = 1.0
        with np.errstate(over="ignore"):
            rows /= np.repeat(peaks, self._counts)
            lengths = np.sqrt(np.add.reduceat(rows**2, self._starts, axis=1))
            sizes = _middle(lengths) * peaks * np.sqrt(self._changing / self._counts)
        return np.asarray(np.minimum(sizes, LONGEST))  # where half of the rows are longer than any number

    def moved(self, aggregate: Sequence[Array], f: int, least: float = 0.0) -> Array:
        """(3, B) how many values of each array the clients changed, without the f that changed most, and how many of these stayed.

        Args:
            aggregate: what became of each array.
            f: of the rule.
            least: what a client must change a value by, so that rounding errors do not count.

        Returns:
            Changed by clients; of these, not changed by the aggregate; and of those, changed by fewer than half of the clients.

        Example:
            >>> rows = [np.eye(4)[k] for k in range(4)]
            >>> Samples([Block(rows)]).moved([np.array([0.0, 0.5, 0.0, 0.0])], f=1).tolist()
            [[3], [2], [2]]
        """
        changed = np.abs(self.deltas) > least
        counts = np.add.reduceat(changed, self._starts, axis=1, dtype=np.int64)
        loud = np.argsort(-counts, axis=0, kind="stable")[: min(f, len(changed) - 1)]
        quiet = np.ones((len(changed), len(self.blocks)), bool)
        np.put_along_axis(quiet, loud, False, axis=0)
        by_clients = (changed & np.repeat(quiet, self._counts, axis=1)).any(axis=0)
        values = zip(self.blocks, aggregate, self._places, strict=True)
        moves = np.concatenate([_deltas(replace(block, rows=[row]), places)[0] != 0 for block, row, places in values])
        few = 2 * changed.sum(axis=0) < len(changed)
        still = by_clients & ~moves
        return np.asarray(np.add.reduceat(np.array([by_clients, still, still & few]), self._starts, axis=1, dtype=np.int64))


def per_array(blocks: Sequence[Block], after_part: AfterPart | None = None) -> list[Block]:
    """The arrays with the scales that make clients equally far apart in each: distances are divided by their typical size.

    That is a median over the rows of each one's median distance to the others, of all values: it lies among the distances of honest
    rows while these are more than half. It takes one more Gram matrix. An array in which more than half of the clients agree counts
    as if its values differed like those of the other arrays. The array with the largest differences keeps its scale of 1.

    Example:
        >>> wide, narrow = (Block([np.array([k * unit]) for k in (0.0, 1.0, 2.0)]) for unit in (8.0, 1.0))
        >>> [block.scale for block in per_array([wide, narrow])]
        [1.0, 8.0]
    """
    widths = np.sqrt([block.width for block in blocks])
    sizes = np.minimum([_typical_distance(block, after_part) for block in blocks], LONGEST)
    apart = sizes > 0
    if not apart.any():
        return list(blocks)
    sizes = np.where(apart, sizes, np.median((sizes / widths)[apart]) * widths)
    least = sizes.max() / FARTHEST
    scales = np.where(sizes <= least, FARTHEST, np.minimum(sizes.max() / np.maximum(sizes, least), FARTHEST))
    return [replace(block, scale=float(scale)) for block, scale in zip(blocks, scales, strict=True)]


def _typical_distance(block: Block, after_part: AfterPart | None) -> float:
    unit = 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        G = kernels.gram(block.rows, block.origin, exact=True, after_part=after_part)
        squares = np.diag(G)
        if not (squares.max() < HUGE**2 and np.median(squares) > TINY**2):  # what leaves float64's range, or nearly so
            limits = Limits.of(kernels.peaks(block.rows, block.origin, after_part), block.width)
            if limits is not None:
                unit, G = limits.unit, kernels.scaled_gram(block.rows, block.origin, limits.scale, None, after_part)
        return math.sqrt(typical_distance(sq_distances(G), f=0)) * unit


def _middle(rows: Array) -> Array:
    """Medians over the first axis, of few finite values: a third of the time that NumPy's takes."""
    ordered, n = np.sort(rows, axis=0), len(rows)
    return np.asarray((ordered[(n - 1) // 2] + ordered[n // 2]) / 2)


def _median(rows: Array) -> Array:
    out, n = np.empty(rows.shape[1]), len(rows)
    kernels.windows(list(rows), None, Window((n - 1) // 2, n // 2 + 1), None, out)
    return out


@dataclass(frozen=True)
class _Look:
    """Where one array is looked at.

    Attributes:
        places: indices of values.
        deltas: (n, c) differences to the broadcast values there.
        among: how many values these stand for; all others are as they were.
    """

    places: slice | Array
    deltas: Array
    among: int

    @classmethod
    def at(cls, block: Block, size: int, after_part: AfterPart | None) -> _Look:
        places = _places(block.width, size)
        deltas = _deltas(block, places, after_part)
        if block.width <= size or _middle(np.count_nonzero(deltas, axis=1)) > SPARSE * size:
            return cls(places, deltas, block.width)
        changed = _changed(block, after_part)
        chosen = changed[_places(len(changed), CLOSER * size)]
        return cls(chosen, _deltas(block, chosen, after_part), len(changed)) if len(changed) else cls(places, deltas, block.width)


def _changed(block: Block, after_part: AfterPart | None) -> Array:
    """Places of the values that the half of the rows that changes fewest of them changes."""
    before = 0 if block.origin is None else block.origin
    counts = [_after(np.count_nonzero(row != before), after_part) for row in block.rows]
    found = np.zeros(block.width, bool)
    for k in np.argsort(counts, kind="stable")[: (len(counts) + 1) // 2]:
        found |= _after(block.rows[k] != before, after_part)
    return np.flatnonzero(found)


def _deltas(block: Block, places: slice | Array, after_part: AfterPart | None = None) -> Array:
    """(n, c) differences to the broadcast values; narrow dtypes are rounded from float64, which hides its errors."""
    values = np.array([_after(row[places].astype(np.float64), after_part) for row in block.rows])
    if block.origin is None:
        return values
    exact = block.origin[places].astype(np.float64)
    values -= exact
    if block.origin.dtype == np.float64:
        values[np.abs(values) <= ROUNDING * np.abs(exact)] = 0.0
    return values


def _after(made: Made, after_part: AfterPart | None) -> Made:
    if after_part is not None:
        after_part()
    return made


@lru_cache(maxsize=1024)
def _places(width: int, size: int) -> slice | Array:
    return slice(None) if width <= size else np.sort(np.random.default_rng(width).integers(width, size=size))
