"""What each array contributes to a round: how far clients are apart in it, and how much of it they and the aggregate change.

Looked at in a sample of each array's values, which costs little beside a rule; it is all of them where they are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from flwr_byzantine.arrays.parallel import AfterPart
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Block

LARGEST = 256  # values looked at in one array: lengths are good to a tenth where the values are like each other
TOGETHER = 1 << 22  # values looked at in all arrays of all replies: 32 MB
ROUNDING = 4 * float(np.finfo(np.float64).eps)
FARTHEST = 1e60  # no array counts more times than this


@dataclass(frozen=True)
class Sample:
    """Some values of one array.

    Attributes:
        block: the array, in all replies.
        places: where its values are looked at.
        deltas: (n, c) float64 differences to the broadcast values; 0 where they are rounding errors.
    """

    block: Block
    places: slice | Array
    deltas: Array

    @classmethod
    def of(cls, block: Block, size: int = LARGEST, after_part: AfterPart | None = None) -> Sample:
        """At most `size` values of each row, at places that are always the same and have no pattern, as the values may have one.

        Args:
            block: the array, in all replies.
            size: how many values.
            after_part: as for `Updates`, called after each row.
        """
        places = _places(block.width, size)
        rows = [_after(row[places].astype(np.float64), after_part) for row in block.rows]
        return cls(block, places, _deltas(np.array(rows), block, places))

    def typical_size(self, centred: bool = True) -> float:
        """The median length of the rows in this array: of their distances to the coordinate-wise median, or to the broadcast values.

        It lies among the lengths of honest rows while these are more than half.

        Example:
            >>> Sample.of(Block([np.array([k, 0.0]) for k in (1.0, 2.0, 3.0, 5.0, 1e9)])).typical_size()
            2.0
        """
        rows = self.deltas - np.median(self.deltas, axis=0) if centred else self.deltas
        peak = float(np.median(np.abs(rows).max(axis=1, initial=0.0))) or 1.0
        with np.errstate(over="ignore"):
            lengths = np.sqrt(((rows / peak) ** 2).sum(axis=1))
        return float(np.median(lengths)) * peak * float(np.sqrt(self.block.width / max(1, rows.shape[1])))

    def moved(self, aggregate: Array, f: int, least: float = 0.0) -> tuple[int, int]:
        """How many values the clients changed, without the f that changed most, and how many of these the aggregate did.

        Args:
            aggregate: what became of the array.
            f: of the rule.
            least: what a client must change a value by, so that rounding errors do not count.

        Example:
            >>> rows = [np.eye(4)[k] for k in range(4)]
            >>> Sample.of(Block(rows)).moved(np.array([0.5, 0.0, 0.0, 0.0]), f=1)
            (3, 1)
        """
        changed = np.abs(self.deltas) > least
        quiet = np.argsort(changed.sum(axis=1), kind="stable")[: max(1, len(changed) - f)]
        by_clients = changed[quiet].any(axis=0)
        own = _deltas(aggregate[self.places].astype(np.float64), self.block, self.places)
        return int(by_clients.sum()), int((by_clients & (own != 0)).sum())


def samples(blocks: Sequence[Block], after_part: AfterPart | None = None) -> list[Sample]:
    """A sample of each array."""
    rows = sum(len(block.rows) for block in blocks)
    size = max(1, min(LARGEST, TOGETHER // max(1, rows)))
    return [Sample.of(block, size, after_part) for block in blocks]


def per_array(sampled: Sequence[Sample]) -> list[Block]:
    """The arrays with the scales that make clients equally far apart in each: distances are divided by their typical size.

    An array in which more than half of the clients agree counts as if its values differed like those of the other arrays. The
    array with the largest differences keeps its scale of 1.

    Example:
        >>> wide, narrow = (Block([np.array([k * unit]) for k in (0.0, 1.0, 2.0)]) for unit in (8.0, 1.0))
        >>> [block.scale for block in per_array(samples([wide, narrow]))]
        [1.0, 8.0]
    """
    blocks = [sample.block for sample in sampled]
    widths = np.sqrt([max(1, block.width) for block in blocks])
    sizes = np.array([sample.typical_size() for sample in sampled])
    apart = sizes > 0
    if not apart.any():
        return blocks
    sizes = np.where(apart, sizes, np.median((sizes / widths)[apart]) * widths)
    scales = np.minimum(sizes.max() / np.maximum(sizes, sizes.max() / FARTHEST), FARTHEST)
    return [replace(block, scale=float(scale)) for block, scale in zip(blocks, scales, strict=True)]


@lru_cache(maxsize=1024)
def _places(width: int, size: int) -> slice | Array:
    return slice(None) if width <= size else np.sort(np.random.default_rng(width).integers(width, size=size))


def _after(row: Array, after_part: AfterPart | None) -> Array:
    if after_part is not None:
        after_part()
    return row


def _deltas(values: Array, block: Block, places: slice | Array) -> Array:
    if block.origin is None:
        return values
    origin = block.origin[places].astype(np.float64)
    found = values - origin
    if block.origin.dtype == np.float64:  # narrower ones are rounded from float64, which hides its errors
        found[np.abs(found) <= ROUNDING * np.abs(origin)] = 0.0
    return np.asarray(found)
