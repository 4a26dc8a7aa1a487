"""Sorting columns by a network of comparators: no branches, so whole vectors of columns are sorted at once.

Batcher's odd-even merge network for n rows, compiled by Numba where it is installed (`pip install
"flwr-byzantine[fast]"`). Without Numba `kernels` sorts with NumPy: the same numbers, since both only reorder.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
AVAILABLE = importlib.util.find_spec("numba") is not None
MAX_ROWS = 256  # beyond, O(log² n) comparators a row cost more than NumPy's sort
TILE = 128  # columns sorted together: n · 128 float32 stay in the L1 or L2 cache


def comparators(n: int) -> list[tuple[int, int]]:
    """The (low, high) pairs of Batcher's odd-even merge sort for n rows, in order.

    Source: Batcher, AFIPS 1968 (the iterative form of Knuth, TAOCP 3, 5.2.2, Algorithm M).

    Example:
        >>> comparators(3)
        [(0, 2), (0, 1), (1, 2)]
    """
    pairs = []
    top = 1 << max((n - 1).bit_length() - 1, 0)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return pairs


@cache
def pruned(n: int, low: int, high: int) -> Array:
    """(2, c) comparators that still put ranks low..high-1 in their places: what does not reach them is left out."""
    wanted, kept = set(range(low, high)), []
    for a, b in reversed(comparators(n)):
        if a in wanted or b in wanted:
            wanted |= {a, b}
            kept.append((a, b))
    return np.array(kept[::-1], dtype=np.int64).reshape(-1, 2).T.copy()


@cache
def _compiled() -> Callable[[Array, Array], None]:
    import numba

    tile_width = TILE  # a constant for the compiler

    def sort(block: Array, pairs: Array) -> None:
        tile = np.zeros((block.shape[0], tile_width), block.dtype)
        for start in range(0, block.shape[1], tile_width):
            width = min(tile_width, block.shape[1] - start)
            for i in range(block.shape[0]):
                for j in range(width):
                    tile[i, j] = block[i, start + j]
            for k in range(pairs.shape[1]):
                low, high = tile[pairs[0, k]], tile[pairs[1, k]]
                for j in range(tile_width):
                    x, y = low[j], high[j]
                    low[j] = x if x < y else y
                    high[j] = y if x < y else x
            for i in range(block.shape[0]):
                for j in range(width):
                    block[i, start + j] = tile[i, j]

    compiled: Callable[[Array, Array], None] = numba.njit(nogil=True, cache=True)(sort)
    return compiled


def sort_columns(block: Array, low: int, high: int) -> None:
    """Sort each column of (n, c) `block` in place, so far that rows low..high-1 hold their ranks."""
    _compiled()(block, pruned(len(block), low, high))
