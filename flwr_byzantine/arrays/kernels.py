"""The inner loops over the d coordinates: the only code whose cost depends on the model's size.

All kernels walk the columns in chunks that fit the processor's cache, in a fixed order, so that peak
extra memory is a few chunks and the result does not depend on the number of threads. Each has a compiled
form (`compiled`, with Numba) and a NumPy form for every dtype; coordinate-wise results are bitwise the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from flwr_byzantine.arrays import compiled, sorting
from flwr_byzantine.arrays.parallel import AfterPart, cache_sized_parts, equal_parts, run, slices
from flwr_byzantine.arrays.typing import CHUNK_VALUES, LANES, TILE_BYTES, Array, Reduce, Rows
from flwr_byzantine.arrays.window import Window

FEW_ROWS = 16  # whose products take no longer than their reading
FEW = 1 << 14  # values that are looked at one by one as fast as BLAS is called
SINGLE_WIDTH = 1 << 16  # from here on Gram tiles multiply float32 rows in float32: 64 and more tiles average the rounding out


def gather(rows: Rows, part: slice, dtype: npt.DTypeLike = np.float64, use: str = "") -> Array:
    """Columns `part` of all rows as a fresh (n, c) array of `dtype`, or in this thread's scratch memory for `use`."""
    shape = len(rows), part.stop - part.start
    out = compiled.SCRATCH.array(*shape, dtype, use) if use else np.empty(shape, dtype)
    for target, row in zip(out, rows, strict=True):
        target[...] = row[part]
    return out


def multiplies_in_float32(rows: Rows) -> bool:
    """Whether `gram` multiplies these rows in float32 unless told otherwise."""
    return rows[0].dtype == np.float32 and len(rows[0]) >= SINGLE_WIDTH and compiled.supports(rows)


def gram(rows: Rows, origin: Array | None, exact: bool = False, after_part: AfterPart | None = None, first: int = 0) -> Array:
    """(n, n) inner products of `rows - origin`, summed in float64.

    Wide float32 rows are multiplied in float32 within tiles of 1024 columns, with an error of about 1e-8 of the
    norms; `exact` multiplies in float64 always. The compiled form is bitwise equivariant under permutations.
    Products of two rows before `first` need not be there. The compiled form multiplies what several senders share (one array) once.
    """
    if compiled.supports(rows if origin is None else [*rows, origin]):
        return _compiled_gram(list(rows), origin, exact, after_part, first)

    def partial(part: slice) -> Array:
        block = centred_block(rows, origin, part)
        return np.asarray(block @ block.T)

    return _sum(run(partial, cache_sized_parts(len(rows), len(rows[0])), after_part), len(rows))


def _compiled_gram(rows: list[Array], origin: Array | None, exact: bool, after_part: AfterPart | None, first: int) -> Array:
    different = {id(row): row for row in rows}
    if len(different) < len(rows) and not first:
        numbers = {key: k for k, key in enumerate(different)}
        where = [numbers[id(row)] for row in rows]
        return _compiled_gram(list(different.values()), origin, exact, after_part, first)[np.ix_(where, where)]
    n, width = len(rows), len(rows[0])
    dtype, padded = np.float32 if multiplies_in_float32(rows) and not exact else np.float64, -(-n // 4) * 4
    places, base = compiled.RowAddresses.of(rows), None if origin is None else compiled.RowAddresses.of([origin])

    def upper(part: slice) -> Array:
        out = np.zeros((padded, padded))
        compiled.gram_into(places, base, part, dtype, first, out)
        return out

    products = n * width * max(1, n // FEW_ROWS)
    total = _sum(run(upper, equal_parts(width), after_part, compiled=True, reads=products), padded)[:n, :n]
    return np.asarray(np.triu(total) + np.triu(total, 1).T)


def scaled_gram(rows: Rows, origin: Array | None, factors: Array, centre: int | None, after_part: AfterPart | None = None) -> Array:
    """(n, n) inner products of `factors * (rows - origin)`, less row `centre` of these, multiplied and summed in float64."""

    def partial(part: slice) -> Array:
        block = scaled_block(rows, origin, factors, centre, part)
        return np.asarray(block @ block.T)

    return _sum(run(partial, cache_sized_parts(len(rows), len(rows[0])), after_part), len(rows))


def scaled_block(rows: Rows, origin: Array | None, factors: Array, centre: int | None, part: slice) -> Array:
    """(n, c) float64 columns `part` of `factors * (rows - origin)`, less row `centre` of these."""
    block = gather(rows, part)
    block *= factors[:, None]
    if origin is not None:
        block -= factors[:, None] * origin[part].astype(np.float64)
    if centre is not None:
        block -= block[centre].copy()
    return block


def peaks(rows: Rows, origin: Array | None, after_part: AfterPart | None = None) -> Array:
    """(n,) largest absolute value of each row of `rows - origin`; 0 where there are no columns."""

    def partial(part: slice) -> Array:
        block = centred_block(rows, origin, part)
        return np.asarray(np.abs(block, out=block).max(axis=1))

    parts = run(partial, cache_sized_parts(len(rows), len(rows[0])), after_part)
    return np.asarray(np.max([np.zeros(len(rows)), *parts], axis=0))


def _sum(parts: Iterable[Array], n: int) -> Array:
    total = np.zeros((n, n))
    for part in parts:
        total += part
    return total


def centred_block(rows: Rows, origin: Array | None, part: slice) -> Array:
    """(n, c) float64 columns `part` of `rows - origin`."""
    block = gather(rows, part)
    if origin is not None:
        block -= origin[part].astype(np.float64)  # once, not once a row
    return block


def distances(left: Rows, right: Rows, after_part: AfterPart | None = None) -> Array:
    """(p,) squared Euclidean distances, in float64, of each row of `left` to its partner in `right`."""
    fast, width, total = compiled.supports([*left, *right]), len(left[0]), np.zeros(len(left))
    places = (compiled.RowAddresses.of(left), compiled.RowAddresses.of(right)) if fast else None

    def partial(part: slice) -> Array:
        if places is None:
            return np.asarray(((gather(left, part) - gather(right, part)) ** 2).sum(axis=1))
        out = np.zeros(len(left))
        compiled.distances_into(*places, part, out)
        return out

    for part in run(partial, equal_parts(width) if fast else cache_sized_parts(len(left), width), after_part, fast, len(left) * width):
        total += part
    return total


def combine(rows: Rows, weights: Array, origin: Array | None, out: Array, after_part: AfterPart | None = None) -> None:
    """Write Σ_i weights_i rows_i + (1 - Σ weights) origin into `out`, rounding once to its dtype.

    Rows of weight zero are not read, so choosing one row returns exactly that row.
    """
    used = np.flatnonzero(weights).tolist()
    chosen, rest = [rows[i] for i in used], 1.0 - float(weights.sum())
    if len(used) == 1 and weights[used[0]] == 1.0:
        _copy(chosen[0], out, after_part)
        return
    rest, origin = (rest, origin) if origin is not None and abs(rest) > 1e-12 else (0.0, None)
    fast = bool(chosen) and compiled.supports([*chosen, out] if origin is None else [*chosen, out, origin])
    spare = -len(chosen) % 4  # the kernel takes four rows at a time: the last one again, with weight zero
    places, shares = compiled.RowAddresses.of(chosen + chosen[-1:] * spare) if fast else None, np.append(weights[used], np.zeros(spare))
    base = compiled.RowAddresses.of([origin]) if fast and origin is not None else None

    def partial(part: slice) -> None:
        if places is not None:
            compiled.combine_into(places, shares, base, rest, part, out)
            return
        value = weights[used] @ gather(chosen, part) if chosen else np.zeros(part.stop - part.start)
        round_into(value if origin is None else value + rest * origin[part], out[part])

    run(partial, equal_parts(len(out)) if fast else cache_sized_parts(len(used), len(out)), after_part, fast, len(used) * len(out))


def _copy(row: Array, out: Array, after_part: AfterPart | None) -> None:
    """On all cores, since most of it is the system's, which clears fresh memory page by page."""

    def partial(part: slice) -> None:
        out[part] = row[part]

    run(partial, equal_parts(len(out)), after_part, compiled=True)


def windows(
    rows: Rows, mixing: Array | None, window: Window, origin: Array | None, out: Array, after_part: AfterPart | None = None
) -> bool:
    """Write each coordinate's window mean over the rows (over `mixing @ rows` where given) to `out`.

    Floats are sorted in their own type, which is exact; mixed rows are float64.

    Returns:
        Whether all values that were read are finite; what is not makes `out` worthless.
    """
    n = len(rows) if mixing is None else len(mixing)
    pairs = sorting.offsets(n, *window.ranks(n), TILE_BYTES) if n <= sorting.MAX_ROWS else None
    direct = mixing is None and pairs is not None and compiled.supports([*rows, out])
    places = compiled.RowAddresses.of(rows) if direct else None

    def partial(part: slice) -> bool:
        if places is not None and pairs is not None:
            return compiled.windows_into(places, pairs, window, part, out[part])
        block = mixed_block(rows, mixing, origin, part)
        if pairs is not None and compiled.supports([block]) and out.dtype in LANES:
            return compiled.windows_into(compiled.RowAddresses.of(block), pairs, window, slice(0, block.shape[1]), out[part])
        values = np.ascontiguousarray(block.T)
        values.sort(axis=1)
        round_into(window.mean(values), out[part])
        return bool(np.isfinite(values[:, [0, -1]]).all())

    return all(run(partial, equal_parts(len(out)) if direct else cache_sized_parts(n, len(out)), after_part, direct))


def columns(
    rows: Rows, mixing: Array | None, reduce: Reduce, origin: Array | None, out: Array, after_part: AfterPart | None = None
) -> None:
    """Write the origin plus what `reduce` makes of each (n, c) float64 part of the deltas, or of `mixing @ deltas`, to `out`."""

    def partial(part: slice) -> None:
        block = centred_block(rows, origin, part)
        value = reduce(block if mixing is None else mixing @ block)
        with np.errstate(over="ignore"):  # `round_into` brings infinity back into the range
            round_into(value if origin is None else value + origin[part], out[part])

    run(partial, cache_sized_parts(len(rows), len(out)), after_part)


def mixed_block(rows: Rows, mixing: Array | None, origin: Array | None, part: slice) -> Array:
    """Columns `part` of `mixing @ rows`, with the origin taking what a row's weights leave of 1; in scratch memory of this thread."""
    if mixing is None:
        return gather(rows, part, rows[0].dtype, "mixed")
    block = gather(rows, part, use="rows")
    value = np.matmul(mixing, block, out=compiled.SCRATCH.array(len(mixing), block.shape[1], np.float64, "mixed"))
    rest = 1.0 - mixing.sum(axis=1)
    if origin is not None and np.abs(rest).max() > 1e-12:
        value += rest[:, None] * origin[part]
    return np.asarray(value)


@lru_cache(maxsize=4)
def _zeros(dtype: np.dtype[Any]) -> Array:
    return np.zeros(CHUNK_VALUES, dtype)  # kept: fresh ones would cost more in page faults than the product


def finite(row: Array) -> bool:
    """Whether every value of a vector is finite: a sum of squares, or where that overflows a product with zeros, which BLAS makes."""
    if row.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        if row.dtype.itemsize >= 4 and math.isfinite(np.dot(row, row)):
            return True
        if len(row) <= FEW:
            return bool(np.isfinite(row).all())
        zeros = _zeros(row.dtype)
        return all(np.dot(row[part], zeros[: part.stop - part.start]) == 0 for part in slices(len(row), CHUNK_VALUES))


def round_into(value: Array, out: Array) -> None:
    """Round float64 `value` into `out`: clipped to the dtype's range, integers to the nearest."""
    if out.dtype in LANES and out.ndim == 1:
        with np.errstate(over="ignore"):
            out[...] = value
        if finite(out):
            return
    if out.dtype.kind in "iu":
        value = np.rint(value)
    limits = np.iinfo(out.dtype) if out.dtype.kind in "iu" else np.finfo(out.dtype)
    top = float(limits.max)
    top = float(np.nextafter(top, 0.0)) if top > limits.max else top  # of 64-bit integers: the next float64 up would wrap around
    out[...] = np.clip(np.asarray(value, np.float64), float(limits.min), top)
