"""The columns of a block cut into parts, and the cores that work on them."""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from flwr_byzantine.arrays.typing import CHUNK_VALUES, DEPTH

T = TypeVar("T")
AfterPart = Callable[[], None]  # called after each part of a pass, in the thread that worked on it

MIN_WIDTH = 256  # columns of a part for NumPy, at least
COMPILED_WIDTH = 1 << 15  # columns of a part for a compiled kernel, at most
LITTLE = 3 << 19  # values that one core has read a few times before another one, which slept, has begun


def cache_sized_parts(n: int, width: int) -> list[slice]:
    """Column slices of a block of `n` rows and `width` columns, each about `CHUNK_VALUES` values.

    Example:
        >>> cache_sized_parts(512, 1000)
        [slice(0, 512, None), slice(512, 1000, None)]
    """
    return slices(width, max(MIN_WIDTH, CHUNK_VALUES // max(n, 1)))


def equal_parts(width: int) -> list[slice]:
    """Column slices for a compiled kernel: 8, 16, ... about equal ones, whole Gram tiles, so that no core waits for the last.

    Example:
        >>> len(equal_parts(1_000_000)), equal_parts(100_000)[0]
        (32, slice(0, 13312, None))
    """
    count = 8 * max(1, -(-width // (8 * COMPILED_WIDTH)))
    return slices(width, DEPTH * max(4, -(-width // (count * DEPTH))))


def slices(width: int, step: int) -> list[slice]:
    """0 to `width` in slices of `step`, the last one shorter."""
    return [slice(start, min(start + step, width)) for start in range(0, width, step)]


def run(
    task: Callable[[Any], T], parts: Sequence[Any], after_part: AfterPart | None = None, compiled: bool = False, reads: float = math.inf
) -> Iterable[T]:
    """Results of `task` for each part, in their order, computed on all cores: NumPy and compiled kernels release Python's lock.

    Args:
        task: of one part.
        parts: usually column slices.
        after_part: called after each part in its thread; `Spill` hands pages back to the system there.
        compiled: whether the task calls compiled kernels only, and no BLAS.
        reads: how many values a compiled pass reads; up to `LITTLE` are left to this thread.

    Example:
        >>> list(run(lambda part: part.stop, slices(5, 2)))
        [2, 4, 5]
    """

    def work(part: Any) -> T:
        with np.errstate(over="ignore", invalid="ignore"):  # of hostile values; whoever asked looks at what came out
            value = task(part)
        if after_part is not None:
            after_part()
        return value

    if compiled:
        return _shared(work, parts) if reads > LITTLE else [work(part) for part in parts]
    with _libraries().limit(limits=1, user_api="blas"):  # one level of threads: ours; those of BLAS keep spinning after a small product
        return _shared(work, parts)


def _shared(work: Callable[[Any], T], parts: Sequence[Any]) -> list[T]:
    """The results in the order of the parts: each core, this thread's first, takes the next part that nobody has taken."""
    found: dict[int, T] = {}
    left = iter(range(len(parts)))  # one step of it is not interrupted by another thread

    def take() -> None:
        for k in left:
            found[k] = work(parts[k])

    helpers = min(cores(), len(parts)) - 1
    others = _helped(take, helpers) if helpers > 0 else []
    try:
        take()
    finally:
        for other in others:
            other.result()
    return [found[k] for k in range(len(parts))]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _helped(task: Callable[[], None], count: int) -> list[Future[None]]:
    """The task on so many of the other threads, none of them on the core that this thread is on.

    A system may wake a thread that has slept on the core of the one that wakes it, and see only after milliseconds that others idle.
    """
    pool, here = _pool(), _core()
    if here is not None and len(allowed := os.sched_getaffinity(0)) > 1:
        with suppress(OSError):  # a sandbox may forbid it
            for thread in pool.ids:
                os.sched_setaffinity(thread, allowed - {here})
    return [pool.submit(task) for _ in range(count)]


def _core() -> int | None:
    """The core that this thread is on at the moment, where the system says."""
    ask = _asks_for_core()
    return None if ask is None else ask()


@lru_cache(maxsize=1)
def _asks_for_core() -> Callable[[], int] | None:
    return getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


def one_blas_thread(n: int) -> AbstractContextManager[Any]:
    """BLAS on one thread while n × n matrices are small: waking the others takes longer than the work."""
    return _libraries().limit(limits=1, user_api="blas") if n < 512 else nullcontext()


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """The process's libraries with threads of their own; to find them takes longer than many a kernel."""
    return ThreadpoolController()


class _Pool(ThreadPoolExecutor):
    """Threads, with the system's ids of those that have begun."""

    def __init__(self, count: int) -> None:
        self.ids: list[int] = []
        super().__init__(count, initializer=lambda: self.ids.append(threading.get_native_id()))


@lru_cache(maxsize=1)
def _pool() -> _Pool:
    """The process's threads."""
    return _Pool(cores())


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child starts its own
    os.register_at_fork(after_in_child=_pool.cache_clear)
