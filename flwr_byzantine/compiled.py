"""The kernels that are worth compiling, by Numba where it is installed (`pip install "flwr-byzantine[fast]"`).

They read the rows where they lie (in Flower's received bytes) through their addresses, one cache-sized tile at a time. Every
entry of a Gram matrix is summed in one order that does not depend on which rows it belongs to, so that reordering the rows
reorders the matrix bit for bit. Without Numba `kernels` does the same with NumPy; coordinate-wise results are bitwise the same.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
AVAILABLE = importlib.util.find_spec("numba") is not None
DEPTH = 1024  # columns of one Gram tile: 4 + 4 rows of it stay in the L1 cache in float32, in the L2 cache in float64
TILE_BYTES = 256  # of one row in a sorting tile: the 128 rows that most federations stay below fit the L1 cache
LANES = {np.dtype(np.float32): TILE_BYTES // 4, np.dtype(np.float64): TILE_BYTES // 8}
FAST = {"reassoc", "contract", "nsz"}  # vector sums and fused multiply-adds; NaN and infinity keep their meaning


def suits(rows: Any) -> bool:
    """Whether the compiled kernels can read these rows, of one dtype, where they lie."""
    dtype = rows[0].dtype
    return AVAILABLE and dtype in LANES and dtype.isnative and all(row.dtype == dtype and row.flags.c_contiguous for row in rows)


@dataclass(frozen=True)
class Places:
    """Where rows of one dtype begin in memory, looked up once a pass; valid while the rows live.

    Attributes:
        starts: (n,) addresses.
        like: empty, what tells a kernel the dtype: one compiled form for each, whether the rows may be written or not.
    """

    starts: Array
    like: Array

    @classmethod
    def of(cls, rows: Any) -> Places:
        """Of contiguous rows, or of a matrix's."""
        if isinstance(rows, np.ndarray):
            starts = rows.__array_interface__["data"][0] + rows.strides[0] * np.arange(len(rows))
            return cls(starts.astype(np.uintp), np.empty(0, rows.dtype))
        return cls(np.array([row.__array_interface__["data"][0] for row in rows], dtype=np.uintp), np.empty(0, rows[0].dtype))

    def at(self, column: int) -> Array:
        """(n,) addresses of one column."""
        return self.starts + np.uintp(column * self.like.itemsize)


def _origin(origin: Places | None, column: int) -> Any:
    return np.uintp(0) if origin is None else origin.at(column)[0]


_SCRATCH = threading.local()


def scratch(rows: int, columns: int, dtype: Any, use: str = "tile") -> Array:
    """(rows, columns) values of this thread's to write on, one array for each use; they start on a cache line, as vectors like it."""
    size, buffers = rows * columns * np.dtype(dtype).itemsize, _SCRATCH.__dict__
    if len(buffers.get(use, ())) < size + 64:
        buffers[use] = np.empty(size + 64, np.uint8)  # kept: the system would clear fresh memory page by page
    skip = -buffers[use].__array_interface__["data"][0] % 64
    return np.asarray(buffers[use][skip : skip + size].view(dtype).reshape(rows, columns))


@cache
def _pointers() -> tuple[Any, Any, Any, Any]:
    """What Numba lacks: addresses as pointers, 16 values moved and two tile rows exchanged as vectors, a hint to fetch a line."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def pointer(_context: Any, address: Any, like: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(like.dtype)(address, like), generate

    @intrinsic
    def move(_context: Any, to: Any, source: Any, tile: Any, like: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            sizes = [signature.args[i].dtype.bitwidth // 8 for i in (2, 3)]
            vectors = [ir.VectorType(context.get_value_type(signature.args[i].dtype), 16) for i in (2, 3)]
            places = [builder.inttoptr(args[i], vectors[i].as_pointer()) for i in (0, 1)]
            values = builder.load(places[1], align=sizes[1])
            builder.store(values if sizes[0] == sizes[1] else builder.fpext(values, vectors[0]), places[0], align=sizes[0])
            return context.get_dummy_value()

        return types.void(types.uintp, types.uintp, tile, like), generate

    @intrinsic
    def exchange(_context: Any, low: Any, high: Any, like: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            size = signature.args[2].dtype.bitwidth // 8
            vector = ir.VectorType(context.get_value_type(signature.args[2].dtype), TILE_BYTES // size)
            places = [builder.inttoptr(args[i], vector.as_pointer()) for i in (0, 1)]
            x, y = (builder.load(place, align=size) for place in places)
            smaller = builder.fcmp_ordered("<", x, y)
            builder.store(builder.select(smaller, x, y), places[0], align=size)
            builder.store(builder.select(smaller, y, x), places[1], align=size)
            return context.get_dummy_value()

        return types.void(types.uintp, types.uintp, like), generate

    @intrinsic
    def fetch(_context: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            flag, byte = ir.IntType(32), ir.IntType(8).as_pointer()
            kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
            hint = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
            builder.call(hint, [builder.inttoptr(args[0], byte), flag(0), flag(2), flag(1)])  # to read, into the L2 cache, data
            return context.get_dummy_value()

        return types.void(types.uintp), generate

    return pointer, move, exchange, fetch


@cache
def _view() -> Callable[..., Any]:
    """The values start..start + c of the row at an address."""
    import numba

    pointer, *_ = _pointers()

    @numba.njit(nogil=True, cache=True)
    def view(place, like, start, c):  # type: ignore[no-untyped-def]
        return numba.carray(pointer(place, like), (start + c,))[start : start + c]

    return view  # type: ignore[no-any-return]


@cache
def _copy() -> Callable[..., None]:
    """`to[k] = row[start + k]` for all k below c, while the memory at `after` is asked for."""
    import numba

    (_, move, _, fetch), view, uintp = _pointers(), _view(), numba.types.uintp

    @numba.njit(nogil=True, cache=True)
    def copy(place, like, start, c, to, after):  # type: ignore[no-untyped-def]
        row, source, target = view(place, like, start, c), place + uintp(start * like.itemsize), uintp(to.ctypes.data)
        for b in range(0, c - 15, 16):
            if after > 0:
                for byte in range(b * like.itemsize, (b + 16) * like.itemsize, 64):
                    fetch(after + uintp(byte))
            move(target + uintp(b * to.itemsize), source + uintp(b * like.itemsize), to, like)
        for k in range(c // 16 * 16, c):
            to[k] = row[k]

    return copy  # type: ignore[no-any-return]


@cache
def _load() -> Callable[..., None]:
    """Columns of all rows into a tile: as they are, or as differences to the origin."""
    import numba

    view, copy, uintp = _view(), _copy(), numba.types.uintp

    @numba.njit(nogil=True, fastmath=FAST, cache=True)
    def load(places, like, origin, start, stop, tile):  # type: ignore[no-untyped-def]
        n, c = places.shape[0], stop - start
        tile[:, c:] = tile[n:] = tile.dtype.type(0)
        for i in range(n):  # the next row comes while this one is copied
            after = places[i + 1] + uintp(start * like.itemsize) if i + 1 < n else places[0] + uintp(stop * like.itemsize)
            copy(places[i], like, start, c, tile[i], after)
            if origin > 0:
                base, to = view(origin, like, start, c), tile[i]
                for k in range(c):
                    to[k] -= tile.dtype.type(base[k])

    return load  # type: ignore[no-any-return]


@cache
def _gram() -> Callable[..., None]:
    import numba

    load = _load()

    @numba.njit(nogil=True, fastmath=FAST, cache=True)
    def gram(places, like, origin, width, tile, out):  # type: ignore[no-untyped-def]
        zero = tile.dtype.type(0)
        for start in range(0, width, tile.shape[1]):
            load(places, like, origin, start, min(start + tile.shape[1], width), tile)
            for i in range(0, tile.shape[0], 4):
                a0, a1, a2, a3 = tile[i], tile[i + 1], tile[i + 2], tile[i + 3]
                for j in range(i, tile.shape[0], 4):  # 4 x 4 sums at a time stay in registers
                    b0, b1, b2, b3 = tile[j], tile[j + 1], tile[j + 2], tile[j + 3]
                    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
                    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
                    for k in range(tile.shape[1]):
                        x0, x1, x2, x3 = a0[k], a1[k], a2[k], a3[k]
                        y0, y1, y2, y3 = b0[k], b1[k], b2[k], b3[k]
                        s00, s01, s02, s03 = s00 + x0 * y0, s01 + x0 * y1, s02 + x0 * y2, s03 + x0 * y3
                        s10, s11, s12, s13 = s10 + x1 * y0, s11 + x1 * y1, s12 + x1 * y2, s13 + x1 * y3
                        s20, s21, s22, s23 = s20 + x2 * y0, s21 + x2 * y1, s22 + x2 * y2, s23 + x2 * y3
                        s30, s31, s32, s33 = s30 + x3 * y0, s31 + x3 * y1, s32 + x3 * y2, s33 + x3 * y3
                    sums = ((s00, s01, s02, s03), (s10, s11, s12, s13), (s20, s21, s22, s23), (s30, s31, s32, s33))
                    for p in range(4):
                        for q in range(4):
                            out[i + p, j + q] += sums[p][q]

    return gram  # type: ignore[no-any-return]


def gram_into(rows: Places, origin: Places | None, part: slice, dtype: Any, out: Array) -> None:
    """Add the upper triangle of the Gram matrix of columns `part` to (4⌈n/4⌉, 4⌈n/4⌉) float64 `out`, multiplying in `dtype`."""
    tile = scratch(len(out), DEPTH, dtype)
    _gram()(rows.at(part.start), rows.like, _origin(origin, part.start), part.stop - part.start, tile, out)


@cache
def _distances() -> Callable[..., None]:
    import numba

    view = _view()

    @numba.njit(nogil=True, fastmath=FAST, cache=True)
    def distances(left, right, like, width, out):  # type: ignore[no-untyped-def]
        for p in range(left.shape[0]):
            x, y = view(left[p], like, 0, width), view(right[p], like, 0, width)
            total = 0.0
            for k in range(width):
                apart = np.float64(x[k]) - np.float64(y[k])
                total += apart * apart
            out[p] += total

    return distances  # type: ignore[no-any-return]


def distances_into(left: Places, right: Places, part: slice, out: Array) -> None:
    """Add to `out` the squared distances, over columns `part`, of each row of `left` to its partner in `right`."""
    _distances()(left.at(part.start), right.at(part.start), left.like, part.stop - part.start, out)


@cache
def _combine() -> Callable[..., None]:
    import numba

    view = _view()

    @numba.njit(nogil=True, fastmath=FAST, cache=True)
    def combine(places, like, weights, origin, rest, width, limit, out):  # type: ignore[no-untyped-def]
        total = np.zeros(4096)
        for start in range(0, width, 4096):
            c = min(4096, width - start)
            if origin > 0:
                base = view(origin, like, start, c)
                for k in range(c):
                    total[k] = rest * np.float64(base[k])
            else:
                total[:] = 0.0
            for i in range(0, places.shape[0], 4):  # four rows at a time: reading and writing `total` costs more than the rows
                r0, r1 = view(places[i], like, start, c), view(places[i + 1], like, start, c)
                r2, r3 = view(places[i + 2], like, start, c), view(places[i + 3], like, start, c)
                w0, w1, w2, w3 = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
                for k in range(c):
                    total[k] += w0 * np.float64(r0[k]) + w1 * np.float64(r1[k]) + w2 * np.float64(r2[k]) + w3 * np.float64(r3[k])
            to = out[start : start + c]
            for k in range(c):
                to[k] = min(max(total[k], -limit), limit)

    return combine  # type: ignore[no-any-return]


def combine_into(rows: Places, weights: Array, origin: Places | None, rest: float, part: slice, out: Array) -> None:
    """Write Σ weights_i rows_i + rest · origin over columns `part` to `out`, clipped to its dtype's range; 4m rows."""
    places, limit = rows.at(part.start), float(np.finfo(out.dtype).max)
    _combine()(places, rows.like, weights, _origin(origin, part.start), rest, part.stop - part.start, limit, out[part])


@cache
def _nearest() -> Callable[..., None]:
    """Replace the centres in `total` by the means of the `length` values nearest to them, in each column of a sorted tile."""
    import numba

    @numba.njit(nogil=True, cache=True)
    def nearest(tile, length, total, best, first):  # type: ignore[no-untyped-def]
        n, lanes = tile.shape
        best[:] = np.inf
        first[:] = 0
        for s in range(n - length + 1):
            lows, highs = tile[s], tile[s + length - 1]
            for k in range(lanes):
                reach = max(total[k] - lows[k], highs[k] - total[k])
                if reach < best[k]:
                    best[k], first[k] = reach, s
        total[:] = 0.0
        for r in range(n):
            for k in range(lanes):
                total[k] += tile[r, k] if first[k] <= r < first[k] + length else 0.0
        for k in range(lanes):
            total[k] /= length

    return nearest  # type: ignore[no-any-return]


@cache
def _windows() -> Callable[..., bool]:
    import numba

    (_, _, exchange, fetch), copy, nearest, uintp = _pointers(), _copy(), _nearest(), numba.types.uintp

    @numba.njit(nogil=True, cache=True)
    def windows(places, like, width, pairs, ranks, length, tile, limit, out):  # type: ignore[no-untyped-def]
        (n, lanes), base = tile.shape, uintp(tile.ctypes.data)
        poison, total, best, first = np.zeros(lanes, tile.dtype), np.zeros(lanes), np.zeros(lanes), np.zeros(lanes, np.int64)
        for start in range(0, width, lanes):
            c = min(lanes, width - start)
            tile[:, c:] = tile.dtype.type(0)
            for i in range(n):
                copy(places[i], like, start, c, tile[i], uintp(0))
                for k in range(lanes):
                    poison[k] += tile[i, k] - tile[i, k]
            ahead = uintp((start + 2 * lanes) * like.itemsize)
            for i in range(n):  # a share of the sorting after each row's request, so that the next tile but one comes meanwhile
                if start + 3 * lanes <= width:
                    for k in range(0, lanes * like.itemsize, 64):
                        fetch(places[i] + ahead + uintp(k))
                for p in range(i * pairs.shape[0] // n, (i + 1) * pairs.shape[0] // n):
                    exchange(base + pairs[p, 0], base + pairs[p, 1], like)
            total[:] = 0.0
            for r in range(ranks[0], ranks[1]):
                for k in range(lanes):
                    total[k] += tile[r, k]
            for k in range(lanes):
                total[k] /= ranks[1] - ranks[0]
            if length > 0:
                nearest(tile, length, total, best, first)
            to = out[start : start + c]
            for k in range(c):
                to[k] = min(max(total[k], -limit), limit)
        return not np.isnan(poison.sum())

    return windows  # type: ignore[no-any-return]


def windows_into(rows: Places, pairs: Array, window: Any, part: slice, out: Array) -> bool:
    """Write the means of `window` (a `kernels.Window`) over the sorted columns `part` to `out`; False where a value is not finite.

    `pairs` are (c, 2) byte offsets into a tile, see `network.offsets`.
    """
    dtype, ranks, limit = rows.like.dtype, np.array([window.low, window.high]), float(np.finfo(out.dtype).max)
    tile = scratch(len(rows.starts), LANES[dtype], dtype)
    return _windows()(rows.at(part.start), rows.like, part.stop - part.start, pairs, ranks, window.length, tile, limit, out)
