"""Time and extra memory of a call, in a process of its own, so that nothing it leaves behind slows the next one."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flwr_byzantine.errors import InvalidParameter

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Timing:
    """Time and memory of one contestant.

    Attributes:
        seconds: best of the repeats after a first call; None where it did not finish.
        peak: bytes of resident memory above those before the first repeat; None where the system does not tell.
        error: why there is no time; "" where there is one.
    """

    seconds: float | None
    peak: int | None = None
    error: str = ""


def measure(task: Callable[[], Any], timeout: float = 60.0, repeats: int = 5) -> Timing:
    """Run `task` in a forked process: once to warm up, then up to `repeats` times within the time left.

    Args:
        task: a call without arguments; what it returns is thrown away.
        timeout: seconds after which it is given up.
        repeats: how often at most; fewer where they would exceed half of `timeout`.

    Example:
        >>> measure(lambda: sum(range(1000))).error
        ''
    """
    found = isolated(lambda: _timed(task, timeout, repeats), timeout)
    return found if isinstance(found, Timing) else Timing(None, error=found)


def isolated(task: Callable[[], Any], timeout: float) -> Any:
    """What `task` returns in a forked process; a sentence where it fails, dies or takes longer than `timeout` seconds.

    Raises:
        InvalidParameter: the system cannot fork.

    Example:
        >>> isolated(lambda: 1 + 1, 10.0)
        2
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise InvalidParameter("bench: contests run in forks of this process, which this system cannot make; use Linux or WSL")
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(task, there), daemon=True)
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(timeout) else f"more than {timeout:.0f} s"
    except EOFError:
        return "its process died"
    finally:
        process.kill()
        process.join()


def _child(task: Callable[[], Any], answer: Connection) -> None:
    try:
        answer.send(task())
    except Exception as error:  # a peer's failure is a result, not ours to raise
        answer.send(f"{type(error).__name__}: {str(error)[:120]}")


def _timed(task: Callable[[], Any], timeout: float, repeats: int) -> Timing:
    begun = time.perf_counter()
    task()  # compiled code is loaded, memory is mapped
    before, best, spent = _reset_peak(), float("inf"), time.perf_counter() - begun
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        best = min(best, time.perf_counter() - start)
        spent += best
        if spent + best > timeout / 2:
            break
    after = _peak()
    return Timing(best, None if before is None or after is None else max(0, after - before))


def _reset_peak() -> int | None:
    """Let the peak of resident memory count from now on; the bytes resident now, None where the system cannot tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _peak()


def _peak() -> int | None:
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)
