"""Where the time of a run goes: parts of the code say their names, and where somebody looks, the seconds of each are added up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OTHER = "other"  # what is in no named part


class Profile:
    """Seconds of each part.

    Attributes:
        seconds: part -> seconds spent in it, without those of parts inside it, so that they add up to the whole.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._parts, self._since = [OTHER], time.perf_counter()

    def enter(self, part: str) -> None:
        """A part begins."""
        self._charge()
        self._parts.append(part)

    def leave(self) -> None:
        """The last part that began ends."""
        self._charge()
        self._parts.pop()

    def _charge(self) -> None:
        now, part = time.perf_counter(), self._parts[-1]
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now


_LOOKING: ContextVar[Profile | None] = ContextVar("looking", default=None)


@contextmanager
def profiled() -> Iterator[Profile]:
    """Add up the seconds of the parts that run in this thread, inside the `with` block.

    Example:
        >>> with profiled() as found:
        ...     with span("rule"):
        ...         pass
        >>> sorted(found.seconds)
        ['other', 'rule']
    """
    profile = Profile()
    token = _LOOKING.set(profile)
    try:
        yield profile
    finally:
        _LOOKING.reset(token)
        profile.leave()


@contextmanager
def span(part: str) -> Iterator[None]:
    """Say that a part runs: around a block, or as a decorator of a function; where nobody looks it takes a microsecond.

    Args:
        part: its name.
    """
    profile = _LOOKING.get()
    if profile is None:
        yield
        return
    profile.enter(part)
    try:
        yield
    finally:
        profile.leave()
