"""Pulling replies in threads: one that raises, or never comes, holds up nobody."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from flwr_byzantine.flower import superlink
from flwr_byzantine.flower.patience import pause
from flwr_byzantine.flower.uploads import Cost, Upload

AT_ONCE = 4  # replies that are read at a time, beside those that have stalled


class Pulls:
    """The replies to some messages, each pulled by itself under the id of the message that it answers.

    Args:
        grid: a Flower Grid; one that is not Flower's own is asked in one thread at a time, unless that hangs.
        cost: what each reply may cost.

    Attributes:
        fetched: message's id -> when its reply had been pulled, on the clock `time.monotonic`.
    """

    def __init__(self, grid: Any, cost: Cost) -> None:
        self.grid, self.cost = grid, cost
        self.at_once = AT_ONCE if superlink.is_superlinks(grid) else 1
        self.fetched: dict[str, float] = {}
        self._ready: deque[tuple[str, superlink.Fetch]] = deque()
        self._active: dict[str, Upload] = {}
        self._claimed: set[str] = set()
        self._begun, self._next = time.monotonic(), 0.0
        self._done: queue.Queue[tuple[str, Any]] = queue.Queue(self.at_once)
        self._over, self._lock = threading.Event(), threading.Lock()

    def __enter__(self) -> Pulls:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for upload in list(self._active.values()):
            upload.cancel()

    def look(self, keys: set[str], again: bool = False) -> None:
        """Ask which of these messages have been answered.

        Args:
            keys: their ids.
            again: even where a SuperLink was asked a moment ago.
        """
        free = keys - self._claimed
        if not free or (time.monotonic() < self._next and not again):
            return
        found = superlink.announced(self.grid, free)
        self._next = time.monotonic() + pause(self._begun) if superlink.is_superlinks(self.grid) else 0.0
        self._claimed |= set(found)
        self._ready.extend(found.items())

    def finished(self, wait: float) -> Iterator[tuple[str, Any]]:
        """Pairs of a message's id and its reply, or what pulling it raised; waits so many seconds for the first."""
        self._employ()
        with suppress(queue.Empty):
            found = self._done.get(timeout=wait)
            while True:
                yield found
                self._done.task_done()
                found = self._done.get_nowait()

    def _employ(self) -> None:
        """Let threads pull what has been answered, beside those whose reply has stalled."""
        busy = sum(not upload.stalled for upload in list(self._active.values()))
        for k in range(min(len(self._ready), self.at_once - busy)):
            threading.Thread(target=self._work, daemon=True, name=f"pull {k}").start()

    def busy(self) -> bool:
        """Whether replies are on their way, beside those that have stalled."""
        with self._lock:
            moving = any(not upload.stalled for upload in self._active.values())
            return moving or bool(self._ready or self._done.unfinished_tasks)

    def unfinished(self) -> list[str]:
        """Messages whose replies were announced and have not come."""
        return [key for key, upload in list(self._active.items()) if upload.announced]

    def _work(self) -> None:
        while not self._over.is_set():
            with self._lock:
                if not self._ready:
                    return
                key, fetch = self._ready.popleft()
                upload = self._active[key] = Upload(self.cost)
            try:
                self._put(key, fetch(upload))
            except Exception as error:
                self._put(key, [error])
            finally:
                with self._lock:
                    del self._active[key]

    def _put(self, key: str, found: list[Any]) -> None:
        self.fetched[key] = time.monotonic()
        if not found:
            self._claimed.discard(key)  # not answered yet
        while found and not self._over.is_set():
            with suppress(queue.Full):
                self._done.put((key, found[0]), timeout=0.2)
                found = []
        while self.at_once == 1 and self._done.unfinished_tasks and not self._over.is_set():
            time.sleep(0.001)  # until this reply has been dealt with
