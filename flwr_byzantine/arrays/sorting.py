"""Sorting columns by a network of comparators: no branches, so whole vectors of columns are sorted at once.

Batcher's odd-even merge network for n rows, cut down to the ranks that are wanted; `compiled` runs it. Without
Numba `kernels` sorts with NumPy: the same numbers, since both only reorder.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from flwr_byzantine.arrays.typing import Array

MAX_ROWS = 1024  # beyond, O(log² n) comparators a row cost more than NumPy's sort


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


def pruned(n: int, low: int, high: int) -> Array:
    """(2, c) comparators that still put ranks low..high-1 in their places: what does not reach them is left out."""
    wanted, kept = set(range(low, high)), []
    for a, b in reversed(comparators(n)):
        if a in wanted or b in wanted:
            wanted |= {a, b}
            kept.append((a, b))
    return np.array(kept[::-1], dtype=np.int64).reshape(-1, 2).T.copy()


@lru_cache(maxsize=32)
def offsets(n: int, low: int, high: int, stride: int) -> Array:
    """(c, 2) the comparators of `pruned`, as byte offsets of their two rows in a tile whose rows are `stride` bytes apart."""
    return np.ascontiguousarray(pruned(n, low, high).T * stride).astype(np.uintp)
