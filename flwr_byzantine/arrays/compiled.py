"""The kernels that are worth compiling, by Numba where it is installed (`pip install "flwr-byzantine[fast]"`).

They read the rows where they lie (in Flower's received bytes) through their addresses, one cache-sized tile at a time. Every
entry of a Gram matrix is summed in one order that does not depend on which rows it belongs to, so that reordering the rows
reorders the matrix bit for bit. Without Numba `kernels` does the same with NumPy; coordinate-wise results are bitwise the same.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from flwr_byzantine.arrays.typing import DEPTH, LANES, Array

AVAILABLE = importlib.util.find_spec("numba") is not None


def supports(rows: Any) -> bool:
    """Whether the compiled kernels can read these rows, of one dtype, where they lie."""
    dtype = rows[0].dtype
    return AVAILABLE and dtype in LANES and dtype.isnative and all(row.dtype == dtype and row.flags.c_contiguous for row in rows)


@dataclass(frozen=True)
class RowAddresses:
    """Where rows of one dtype begin in memory, looked up once a pass; valid while the rows live.

    Attributes:
        starts: (n,) addresses.
        like: empty, what tells a kernel the dtype: one compiled form for each, whether the rows may be written or not.
    """

    starts: Array
    like: Array

    @classmethod
    def of(cls, rows: Any) -> RowAddresses:
        """The addresses of contiguous rows, given as a list of vectors or as a matrix."""
        if isinstance(rows, np.ndarray):
            starts = rows.__array_interface__["data"][0] + rows.strides[0] * np.arange(len(rows))
            return cls(starts.astype(np.uintp), np.empty(0, rows.dtype))
        return cls(np.array([row.__array_interface__["data"][0] for row in rows], dtype=np.uintp), np.empty(0, rows[0].dtype))

    def at(self, column: int) -> Array:
        """(n,) addresses of one column."""
        return self.starts + np.uintp(column * self.like.itemsize)


def _origin(origin: RowAddresses | None, column: int) -> Any:
    return np.uintp(0) if origin is None else origin.at(column)[0]


class Scratch(threading.local):
    """Memory that each thread writes on again and again: the system would clear fresh memory page by page.

    It holds one array for each use, as large as the largest asked for, which is a chunk of columns or a tile.
    """

    def __init__(self) -> None:
        self.buffers: dict[str, Array] = {}

    def array(self, rows: int, columns: int, dtype: Any, use: str = "tile") -> Array:
        """(rows, columns) array of undefined content, aligned to a cache line; the next call with the same `use` gets the same memory."""
        size = rows * columns * np.dtype(dtype).itemsize
        if len(self.buffers.get(use, ())) < size + 64:
            self.buffers[use] = np.empty(size + 64, np.uint8)
        buffer = self.buffers[use]
        skip = -buffer.__array_interface__["data"][0] % 64
        return np.asarray(buffer[skip : skip + size].view(dtype).reshape(rows, columns))


SCRATCH = Scratch()


@lru_cache(maxsize=2)
def _loops(module: str = "loops") -> Any:
    """A module of compiled loops; importing it loads Numba, which takes a while."""
    return importlib.import_module(f"flwr_byzantine.arrays.{module}")


def gram_into(rows: RowAddresses, origin: RowAddresses | None, part: slice, dtype: Any, first: int, out: Array) -> None:
    """Add the upper triangle of the Gram matrix of columns `part` to (4⌈n/4⌉, 4⌈n/4⌉) float64 `out`, multiplying in `dtype`.

    Only the products with the rows from `first` are made, and those that come with them.
    """
    alone = first == len(rows.starts) - 1 and dtype == rows.like.dtype
    after = part.start + (part.stop - part.start) // DEPTH * DEPTH * alone  # before it lies what one row alone is multiplied with
    if after > part.start:
        _loops("statistics").last_products(rows.at(part.start), rows.like, _origin(origin, part.start), after - part.start, DEPTH, out)
    if after < part.stop:
        tile = SCRATCH.array(len(out), DEPTH, dtype)
        _loops().gram(rows.at(after), rows.like, _origin(origin, after), part.stop - after, first // 4 * 4, tile, out)


def distances_into(left: RowAddresses, right: RowAddresses, part: slice, out: Array) -> None:
    """Add to `out` the squared distances, over columns `part`, of each row of `left` to its partner in `right`."""
    _loops("statistics").distances(left.at(part.start), right.at(part.start), left.like, part.stop - part.start, out)


def moments_into(rows: RowAddresses, part: slice, mean: Array, deviation: Array) -> None:
    """Write the mean and the standard deviation of each of the columns `part` to the places of these columns."""
    _loops("statistics").moments(rows.at(part.start), rows.like, part.stop - part.start, mean[part], deviation[part])


def departures(rows: RowAddresses, point: Array, part: slice) -> Array:
    """(2,) sums over columns `part` of the squared distances of all rows to their mean, and of the point to it."""
    out = np.zeros(2)
    _loops("statistics").departures(rows.at(part.start), rows.like, part.stop - part.start, np.ascontiguousarray(point[part]), out)
    return out


def combine_into(rows: RowAddresses, weights: Array, origin: RowAddresses | None, rest: float, part: slice, out: Array) -> None:
    """Write Σ weights_i rows_i + rest · origin over columns `part` to `out`, clipped to its dtype's range; 4m rows."""
    places, limit = rows.at(part.start), float(np.finfo(out.dtype).max)
    _loops().combine(places, rows.like, weights, _origin(origin, part.start), rest, part.stop - part.start, limit, out[part])


def windows_into(rows: RowAddresses, pairs: Array, window: Any, part: slice, out: Array) -> bool:
    """Write the means of `window` (a `Window`) over the sorted columns `part` to `out`; False where a value is not finite.

    `pairs` are (c, 2) byte offsets into a tile, see `sorting.offsets`.
    """
    dtype, ranks, limit = rows.like.dtype, np.array([window.low, window.high]), float(np.finfo(out.dtype).max)
    tile = SCRATCH.array(len(rows.starts), LANES[dtype], dtype)
    return bool(_loops().windows(rows.at(part.start), rows.like, part.stop - part.start, pairs, ranks, window.length, tile, limit, out))


def weiszfeld(K: Array, squares: Array, change: Array, floor: float, steps: int, tol: float, far: float) -> Array:
    """The weights that `GeometricMedian._weiszfeld` finds, where a step of a few rows would be spent in calling NumPy."""
    found: Array = _loops("statistics").weiszfeld(np.ascontiguousarray(K), np.array(squares), np.array(change), floor**2, steps, tol, far)
    return found
