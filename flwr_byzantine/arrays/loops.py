"""The loops of `compiled`, in the Python that Numba compiles; imported at their first use, since Numba takes a while.

All are functions at module level, so that what Numba compiles of them is kept on the disk (beside this file, or in its
user-wide cache) and found again by the next process. The intrinsics at the top are what Numba lacks: pointers from
addresses, moving and exchanging whole vectors, and asking for memory before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from flwr_byzantine.arrays.typing import TILE_BYTES

if TILE_BYTES != 256:  # it is compiled in, and Numba compiles anew where this file changes, not where that one does
    raise ImportError(f"loops.py is compiled for tiles of 256 bytes a row, got TILE_BYTES = {TILE_BYTES}; change the number here too")
FAST = {"reassoc", "contract", "nsz"}  # vector sums and fused multiply-adds; NaN and infinity keep their meaning
uintp = types.uintp


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compiled without the interpreter's lock; kept on the disk where there is a place for it."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no folder to write in
            return numba.njit(nogil=True, **options)(function)

    return decorate


@intrinsic
def _pointer(_context: Any, address: Any, like: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(address, like), generate


@intrinsic
def _move(_context: Any, to: Any, source: Any, tile: Any, like: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        types_of = [context.get_value_type(signature.args[i].dtype) for i in (2, 3)]
        _store(builder, args[0], _vector(builder, args[1], *types_of), types_of[0])
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, tile, like), generate


@intrinsic
def _move_less(_context: Any, to: Any, source: Any, base: Any, tile: Any, like: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        types_of = [context.get_value_type(signature.args[i].dtype) for i in (3, 4)]
        values, less = (_vector(builder, args[i], *types_of) for i in (1, 2))
        _store(builder, args[0], builder.fsub(values, less), types_of[0])
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp, tile, like), generate


def _vector(builder: Any, address: Any, wide: Any, narrow: Any) -> Any:
    """16 values at an address, in the wider type."""
    place = builder.inttoptr(address, ir.VectorType(narrow, 16).as_pointer())
    values = builder.load(place, align=4 if narrow == ir.FloatType() else 8)
    return values if wide == narrow else builder.fpext(values, ir.VectorType(wide, 16))


def _store(builder: Any, address: Any, values: Any, kind: Any) -> None:
    """16 values to an address."""
    builder.store(values, builder.inttoptr(address, ir.VectorType(kind, 16).as_pointer()), align=4 if kind == ir.FloatType() else 8)


@intrinsic
def _exchange(_context: Any, low: Any, high: Any, like: Any) -> Any:
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
def _fetch(_context: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        flag, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        hint = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(hint, [builder.inttoptr(args[0], byte), flag(0), flag(2), flag(1)])  # to read, into the L2 cache, data
        return context.get_dummy_value()

    return types.void(types.uintp), generate


@kernel()
def view(place, like, start, c):
    """The values start..start + c of the row at an address."""
    return numba.carray(_pointer(place, like), (start + c,))[start : start + c]


@kernel()
def copy(place, origin, like, start, c, to, after):
    """`to[k] = row[start + k]`, less the origin's value, for all k below c, while the memory at `after` is asked for."""
    row, base, skipped, target = view(place, like, start, c), view(origin, like, start, c), start * like.itemsize, uintp(to.ctypes.data)
    for b in range(0, c - 15, 16):
        if after > 0:
            for byte in range(b * like.itemsize, (b + 16) * like.itemsize, 64):
                _fetch(after + uintp(byte))
        here, there = uintp(skipped + b * like.itemsize), target + uintp(b * to.itemsize)
        if origin > 0:
            _move_less(there, place + here, origin + here, to, like)
        else:
            _move(there, place + here, to, like)
    for k in range(c // 16 * 16, c):
        to[k] = row[k]
        if origin > 0:
            to[k] -= to.dtype.type(base[k])


@kernel(fastmath=FAST)
def load(places, like, origin, start, stop, low, high, after, tile):
    """Columns of the rows low..high-1 into a tile, less the origin; `after` is where the memory begins that is read next."""
    for i in range(low, high):  # the next row comes while this one is copied
        following = places[i + 1] + uintp(start * like.itemsize) if i + 1 < high else after
        copy(places[i], origin, like, start, stop - start, tile[i - low], following)


@kernel(fastmath=FAST)
def gram(places, like, origin, width, first, tile, out):
    """Add the products of pairs of rows to the upper triangle of `out`, in its columns from `first`, a multiple of 4.

    Rows before `first` are read four at a time, when their products are made, to the tile's first rows.
    """
    zero, n = tile.dtype.type(0), places.shape[0]
    for start in range(0, width, tile.shape[1]):
        stop = min(start + tile.shape[1], width)
        tile[:, stop - start :] = tile[n:] = zero
        here, following = uintp(start * like.itemsize), places[first] + uintp(stop * like.itemsize)
        load(places, like, origin, start, stop, first, n, places[0] + here if first > 0 else following, tile[first:])
        for i in range(0, tile.shape[0], 4):
            if i < first:
                load(places, like, origin, start, stop, i, i + 4, places[i + 4] + here if i + 4 < first else following, tile)
            at = 0 if i < first else i
            a0, a1, a2, a3 = tile[at], tile[at + 1], tile[at + 2], tile[at + 3]
            for j in range(max(i, first), tile.shape[0], 4):  # 4 x 4 sums at a time stay in registers
                b0, b1, b2, b3 = tile[j], tile[j + 1], tile[j + 2], tile[j + 3]
                s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
                for k in range(tile.shape[1]):
                    x0, x1, x2, x3 = a0[k], a1[k], a2[k], a3[k]
                    y0, y1, y2, y3 = b0[k], b1[k], b2[k], b3[k]
                    s00, s01, s02, s03 = s00 + x0 * y0, s01 + x0 * y1, s02 + x0 * y2, s03 + x0 * y3
                    s10, s11, s12, s13 = s10 + x1 * y0, s11 + x1 * y1, s12 + x1 * y2, s13 + x1 * y3
                    s20, s21, s22, s23 = s20 + x2 * y0, s21 + x2 * y1, s22 + x2 * y2, s23 + x2 * y3
                    s30, s31, s32, s33 = s30 + x3 * y0, s31 + x3 * y1, s32 + x3 * y2, s33 + x3 * y3
                sums = (s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33)
                for p in range(16):
                    out[i + p // 4, j + p % 4] += sums[p]


@kernel(fastmath=FAST)
def combine(places, like, weights, origin, rest, width, limit, out):
    """Write the weighted sum of the rows, and of the origin `rest` times, to `out`."""
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


@kernel()
def mean_of_ranks(tile, ranks, total):
    """Write the means of the rows low..high-1 of a sorted tile, `ranks`, to `total`, adding one row after another."""
    total[:] = 0.0
    for r in range(ranks[0], ranks[1]):
        for k in range(tile.shape[1]):
            total[k] += tile[r, k]
    for k in range(tile.shape[1]):
        total[k] /= ranks[1] - ranks[0]


@kernel()
def nearest(tile, length, total, first):
    """Replace the centres in `total` by the means of the `length` values nearest to them, as `Window.first` finds them in each column."""
    n, lanes = tile.shape
    first[:] = 0
    for s in range(n - length):
        lows, highs = tile[s], tile[s + length]
        for k in range(lanes):
            first[k] += total[k] - lows[k] > highs[k] - total[k]
    total[:] = 0.0
    for r in range(n):
        for k in range(lanes):
            total[k] += tile[r, k] if first[k] <= r < first[k] + length else 0.0
    for k in range(lanes):
        total[k] /= length


@kernel()
def windows(places, like, width, pairs, ranks, length, tile, limit, out):
    """Write the window means of the sorted columns to `out`; whether all values are finite."""
    (n, lanes), base = tile.shape, uintp(tile.ctypes.data)
    poison, total, first = np.zeros(lanes, tile.dtype), np.zeros(lanes), np.zeros(lanes, np.int64)
    for start in range(0, width, lanes):
        c = min(lanes, width - start)
        tile[:, c:] = tile.dtype.type(0)
        for i in range(n):
            copy(places[i], uintp(0), like, start, c, tile[i], uintp(0))
            for k in range(lanes):
                poison[k] += tile[i, k] - tile[i, k]
        ahead = uintp((start + 2 * lanes) * like.itemsize)
        for i in range(n):  # a share of the sorting after each row's request, so that the next tile but one comes meanwhile
            if start + 3 * lanes <= width:
                for k in range(0, lanes * like.itemsize, 64):
                    _fetch(places[i] + ahead + uintp(k))
            for p in range(i * pairs.shape[0] // n, (i + 1) * pairs.shape[0] // n):
                _exchange(base + pairs[p, 0], base + pairs[p, 1], like)
        mean_of_ranks(tile, ranks, total)
        if length > 0:
            nearest(tile, length, total, first)
        to = out[start : start + c]
        for k in range(c):
            to[k] = min(max(total[k], -limit), limit)
    return not np.isnan(poison.sum())
