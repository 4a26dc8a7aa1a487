"""The inner loops over the d coordinates: the only code whose cost depends on the model's size.

All kernels walk the columns in chunks that fit the processor's cache, in a fixed order, so that peak
extra memory is a few chunks and the result does not depend on the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from flwr_byzantine import network

Array = npt.NDArray[Any]
Rows = Sequence[Array]  # n one-dimensional arrays of one length and dtype
Reduce = Callable[[Array], Array]  # (c, n) ascending along axis 1 -> (c,)
T = TypeVar("T")

CHUNK_VALUES = 1 << 18  # values in one chunk: 2 MiB of float64 a thread, about the L2 cache
MIN_WIDTH = 256


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


def spans(n: int, width: int) -> list[slice]:
    """Column slices of a block of `n` rows and `width` columns, each about `CHUNK_VALUES` values."""
    step = max(MIN_WIDTH, CHUNK_VALUES // max(n, 1))
    return [slice(start, min(start + step, width)) for start in range(0, width, step)]


def run(task: Callable[[slice], T], parts: Sequence[slice]) -> Iterable[T]:
    """`task` of each part, in order, on all cores (NumPy releases the lock in copies, sorts and products)."""
    if len(parts) < 2:
        return [task(part) for part in parts]
    with threadpool_limits(limits=1, user_api="blas"):  # one level of threads: ours
        return list(_pool().map(task, parts))


def gather(rows: Rows, part: slice, dtype: npt.DTypeLike = np.float64) -> Array:
    """Columns `part` of all rows as a fresh (n, c) array of `dtype`."""
    out = np.empty((len(rows), part.stop - part.start), dtype)
    for target, row in zip(out, rows, strict=True):
        target[...] = row[part]
    return out


def gram(rows: Rows, origin: Array | None) -> Array:
    """(n, n) float64 inner products of `rows - origin`."""
    n, width = len(rows), len(rows[0])

    def partial(part: slice) -> Array:
        block = gather(rows, part)
        if origin is not None:
            block -= origin[part].astype(np.float64)  # once, not once a row
        product: Array = block @ block.T
        return product

    total = np.zeros((n, n))
    for product in run(partial, spans(n, width)):
        total += product
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

    def partial(part: slice) -> None:
        value = weights[used] @ gather(chosen, part) if chosen else np.zeros(part.stop - part.start)
        if origin is not None and abs(rest) > 1e-12:
            value += rest * origin[part]
        store(value, out[part])

    run(partial, spans(len(used), len(out)))


def columns(rows: Rows, mixing: Array | None, reduce: Reduce, ranks: tuple[int, int], origin: Array | None, out: Array) -> None:
    """Reduce each coordinate over the rows (over `mixing @ rows` where given) and write it to `out`.

    `reduce` gets (c, n) values, of which those of the `ranks` [low, high) are in ascending order along the
    last axis. Floats are sorted in their own type, which is exact; mixed rows are float64.
    """

    def partial(part: slice) -> None:
        store(reduce(ascending(mixed(rows, mixing, origin, part), *ranks)), out[part])

    run(partial, spans(len(rows) if mixing is None else len(mixing), len(out)))


def ascending(block: Array, low: int, high: int) -> Array:
    """(c, n) columns of (n, c) `block`, sorted as far as ranks [low, high) need it; `block` is used up."""
    if network.AVAILABLE and len(block) <= network.MAX_ROWS and block.dtype in (np.float32, np.float64):
        network.sort_columns(block, low, high)
        return block.T
    values = np.ascontiguousarray(block.T)
    values.sort(axis=1)
    return values


def mixed(rows: Rows, mixing: Array | None, origin: Array | None, part: slice) -> Array:
    """Columns `part` of `mixing @ rows`, with the origin taking what a row's weights leave of 1."""
    if mixing is None:
        return gather(rows, part, rows[0].dtype)
    value = mixing @ gather(rows, part)
    rest = 1.0 - mixing.sum(axis=1)
    if origin is not None and np.abs(rest).max() > 1e-12:
        value += rest[:, None] * origin[part]
    return np.asarray(value)


def finite(row: Array) -> bool:
    """Whether every value of a vector is finite: one BLAS product with zeros, at the speed of reading."""
    if row.dtype.kind != "f":
        return True
    zeros = np.zeros(min(len(row), CHUNK_VALUES), row.dtype)
    with np.errstate(invalid="ignore"):
        parts = (row[start : start + CHUNK_VALUES] for start in range(0, len(row), CHUNK_VALUES))
        return all(np.dot(part, zeros[: len(part)]) == 0 for part in parts)


def store(value: Array, out: Array) -> None:
    """Round float64 `value` into `out`: clipped to the dtype's range, integers to the nearest."""
    if out.dtype.kind in "iu":
        value = np.rint(value)
    limits = np.iinfo(out.dtype) if out.dtype.kind in "iu" else np.finfo(out.dtype)
    if out.dtype != np.float64:
        np.clip(value, float(limits.min), float(limits.max), out=(value := np.array(value, np.float64)))
    with np.errstate(invalid="ignore"):  # int64's float limits round up by one; the cast saturates
        out[...] = value
