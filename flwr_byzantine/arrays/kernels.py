"""The inner loops over the d coordinates: the only code whose cost depends on the model's size.

All kernels walk the columns in chunks that fit the processor's cache, in a fixed order, so that peak
extra memory is a few chunks and the result does not depend on the number of threads. Each has a compiled
form (`compiled`, with Numba) and a NumPy form for every dtype; coordinate-wise results are bitwise the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from flwr_byzantine.arrays import compiled, sorting
from flwr_byzantine.arrays.typing import DEPTH, LANES, TILE_BYTES, Array, Rows

T = TypeVar("T")

CHUNK_VALUES = 1 << 18  # values in one chunk: 2 MiB of float64 a thread, about the L2 cache
MIN_WIDTH = 256
COMPILED_WIDTH = 1 << 15  # columns of one task of a compiled kernel, at most
AFTER_PART: list[Callable[[], None]] = []  # called after each part of a pass, in its thread: `spill` hands pages back
SINGLE_WIDTH = 1 << 16  # from here on Gram tiles multiply float32 rows in float32: 64 and more tiles average the rounding out


@dataclass(frozen=True)
class Window:
    """Which values of an ascending column are averaged: those of ranks [low, high), or `length` values around their mean.

    The `length` values nearest to the mean are a contiguous window of the column: among the n - length + 1 windows, the one whose
    farthest end is nearest; ties go to the lower values. Sums run in float64, in the order of the ranks.
    """

    low: int
    high: int
    length: int = 0

    def ranks(self, n: int) -> tuple[int, int]:
        """The ranks that must be in their places; the others need not be sorted."""
        return (0, n) if self.length else (self.low, self.high)

    def first(self, values: Array) -> tuple[Array, int]:
        """First rank of the averaged window in each row of (c, n) ascending values, and its length."""
        if not self.length:
            return np.full(len(values), self.low), self.high - self.low
        centre = _mean_of_ranks(values, self.low, self.high)[:, None]
        reach = np.maximum(centre - values[:, : values.shape[1] - self.length + 1], values[:, self.length - 1 :] - centre)
        return np.asarray(np.argmin(reach, axis=1)), self.length

    def mean(self, values: Array) -> Array:
        """(c,) float64 means of the windows of (c, n) ascending values."""
        if not self.length:
            return _mean_of_ranks(values, self.low, self.high)
        first, total = self.first(values)[0], np.zeros(len(values))
        for rank in range(values.shape[1]):
            total += np.where((first <= rank) & (rank < first + self.length), values[:, rank], 0.0)
        return total / self.length


def _mean_of_ranks(values: Array, low: int, high: int) -> Array:
    total = np.zeros(len(values))
    with np.errstate(over="ignore"):  # float64 only: `round_into` brings infinity back into the range
        for rank in range(low, high):  # one after another, as the compiled kernel adds them
            total += values[:, rank]
    return total / (high - low)


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # finding them takes longer than many a kernel


def one_blas_thread(n: int) -> AbstractContextManager[Any]:
    """BLAS on one thread while n × n matrices are small: waking the others takes longer than the work."""
    return _libraries().limit(limits=1, user_api="blas") if n < 512 else nullcontext()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child starts its own
    os.register_at_fork(after_in_child=_pool.cache_clear)


def cache_parts(n: int, width: int) -> list[slice]:
    """Column slices of a block of `n` rows and `width` columns, each about `CHUNK_VALUES` values."""
    return _slices(width, max(MIN_WIDTH, CHUNK_VALUES // max(n, 1)))


def balanced_parts(width: int) -> list[slice]:
    """Column slices for a compiled kernel: 8, 16, ... about equal ones, whole Gram tiles, so that no core waits for the last."""
    count = 8 * max(1, -(-width // (8 * COMPILED_WIDTH)))
    return _slices(width, DEPTH * max(4, -(-width // (count * DEPTH))))


def _slices(width: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, width)) for start in range(0, width, step)]


def run(task: Callable[[Any], T], parts: Sequence[Any]) -> Iterable[T]:
    """`task` of each part, in order, on all cores (NumPy and compiled kernels release the lock)."""
    work = followed(task)
    with _libraries().limit(limits=1, user_api="blas"):  # one level of threads: ours; those of BLAS keep spinning after a small product
        return [work(part) for part in parts] if len(parts) < 2 else list(_pool().map(work, parts))


def followed(task: Callable[[Any], T]) -> Callable[[Any], T]:
    """`task`, and after it whatever `AFTER_PART` holds."""
    if not AFTER_PART:
        return task

    def work(part: Any) -> T:
        value = task(part)
        for follow in AFTER_PART:
            follow()
        return value

    return work


def gather(rows: Rows, part: slice, dtype: npt.DTypeLike = np.float64, use: str = "") -> Array:
    """Columns `part` of all rows as a fresh (n, c) array of `dtype`, or in this thread's scratch memory for `use`."""
    shape = len(rows), part.stop - part.start
    out = compiled.scratch(*shape, dtype, use) if use else np.empty(shape, dtype)
    for target, row in zip(out, rows, strict=True):
        target[...] = row[part]
    return out


def multiplies_in_float32(rows: Rows) -> bool:
    """Whether `gram` multiplies these rows in float32 unless told otherwise."""
    return rows[0].dtype == np.float32 and len(rows[0]) >= SINGLE_WIDTH and compiled.supports(rows)


def gram(rows: Rows, origin: Array | None, exact: bool = False) -> Array:
    """(n, n) inner products of `rows - origin`, summed in float64.

    Wide float32 rows are multiplied in float32 within tiles of 1024 columns, with an error of about 1e-8 of the
    norms; `exact` multiplies in float64 always. The compiled form is bitwise equivariant under permutations.
    """
    n, width = len(rows), len(rows[0])
    if compiled.supports(rows if origin is None else [*rows, origin]):
        dtype, padded = np.float32 if multiplies_in_float32(rows) and not exact else np.float64, -(-n // 4) * 4
        places, base = compiled.RowAddresses.of(rows), None if origin is None else compiled.RowAddresses.of([origin])

        def upper(part: slice) -> Array:
            out = np.zeros((padded, padded))
            compiled.gram_into(places, base, part, dtype, out)
            return out

        total = _sum(run(upper, balanced_parts(width)), padded)[:n, :n]
        return np.asarray(np.triu(total) + np.triu(total, 1).T)

    def partial(part: slice) -> Array:
        block = centred_block(rows, origin, part)
        return np.asarray(block @ block.T)

    return _sum(run(partial, cache_parts(n, width)), n)


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


def distances(left: Rows, right: Rows) -> Array:
    """(p,) squared Euclidean distances, in float64, of each row of `left` to its partner in `right`."""
    fast, width, total = compiled.supports([*left, *right]), len(left[0]), np.zeros(len(left))
    places = (compiled.RowAddresses.of(left), compiled.RowAddresses.of(right)) if fast else None

    def partial(part: slice) -> Array:
        if places is None:
            return np.asarray(((gather(left, part) - gather(right, part)) ** 2).sum(axis=1))
        out = np.zeros(len(left))
        compiled.distances_into(*places, part, out)
        return out

    for part in run(partial, balanced_parts(width) if fast else cache_parts(len(left), width)):
        total += part
    return total


def combine(rows: Rows, weights: Array, origin: Array | None, out: Array) -> None:
    """Write Σ_i weights_i rows_i + (1 - Σ weights) origin into `out`, rounding once to its dtype.

    Rows of weight zero are not read, so choosing one row returns exactly that row.
    """
    used = np.flatnonzero(weights).tolist()
    chosen, rest = [rows[i] for i in used], 1.0 - float(weights.sum())
    if len(used) == 1 and weights[used[0]] == 1.0:
        out[...] = chosen[0]
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

    run(partial, balanced_parts(len(out)) if fast else cache_parts(len(used), len(out)))


def windows(rows: Rows, mixing: Array | None, window: Window, origin: Array | None, out: Array) -> bool:
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

    return all(run(partial, balanced_parts(len(out)) if direct else cache_parts(n, len(out))))


def mixed_block(rows: Rows, mixing: Array | None, origin: Array | None, part: slice) -> Array:
    """Columns `part` of `mixing @ rows`, with the origin taking what a row's weights leave of 1; in scratch memory of this thread."""
    if mixing is None:
        return gather(rows, part, rows[0].dtype, "mixed")
    block = gather(rows, part, use="rows")
    value = np.matmul(mixing, block, out=compiled.scratch(len(mixing), block.shape[1], np.float64, "mixed"))
    rest = 1.0 - mixing.sum(axis=1)
    if origin is not None and np.abs(rest).max() > 1e-12:
        value += rest[:, None] * origin[part]
    return np.asarray(value)


@cache
def _zeros(dtype: np.dtype[Any]) -> Array:
    return np.zeros(CHUNK_VALUES, dtype)  # kept: fresh ones would cost more in page faults than the product


def finite(row: Array) -> bool:
    """Whether every value of a vector is finite: a product with zeros, which BLAS makes at the speed of reading."""
    if row.dtype.kind != "f":
        return True
    zeros = _zeros(row.dtype)
    with np.errstate(invalid="ignore"):
        return all(np.dot(row[part], zeros[: part.stop - part.start]) == 0 for part in _slices(len(row), CHUNK_VALUES))


def round_into(value: Array, out: Array) -> None:
    """Round float64 `value` into `out`: clipped to the dtype's range, integers to the nearest."""
    if out.dtype.kind in "iu":
        value = np.rint(value)
    limits = np.iinfo(out.dtype) if out.dtype.kind in "iu" else np.finfo(out.dtype)
    top = float(limits.max)
    if top > limits.max:  # the largest 64-bit integers have no float64; the next one up would wrap around
        top = float(np.nextafter(top, 0.0))
    out[...] = np.clip(np.asarray(value, np.float64), float(limits.min), top)
