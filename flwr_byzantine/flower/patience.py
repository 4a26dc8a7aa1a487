"""How long a round waits, and for whom."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

SHORTEST = 60.0  # seconds that the others get after the quorum where `grace` is not fixed
BETWEEN = 0.1, 1.0  # seconds between two looks, at least and at most
LONG = 10  # times as long, where those that answered are enough in number but not usable, or the rule needs more


class Quorum(NamedTuple):
    """How many of the nodes that are asked must have answered.

    Attributes:
        enough: all but the f that may be silent.
        needed: what the rule cannot do without.
    """

    enough: int
    needed: int = 0


class Patience:
    """The clock of one exchange, which several threads may share: ends it at a limit, or some time after a quorum.

    After the quorum of valid replies the others get the grace period. Where so many have answered, and it is no quorum since
    some cannot be used or the rule needs more, they get ten times as long again, and ten minutes at least: malformed replies
    must not cut off slow honest nodes, nor may silent ones hold a round for ever.

    Args:
        quorum: how many are enough.
        grace: seconds of the grace period; None gives as long again as the quorum took, and a minute at least.
        limit: seconds after which it is over in any case, or None.
        now: the clock, in seconds, where it is not `time.monotonic`: that of a Grid whose time is simulated.

    Attributes:
        seconds: node id -> when its reply came, in seconds after the start.
        start: when it began, on its clock.

    Example:
        >>> patience = Patience(Quorum(enough=2), grace=0.0, limit=None)
        >>> patience.answered(valid=True)
        >>> patience.over()
        False
        >>> patience.answered(valid=True)
        >>> patience.over()
        True
    """

    def __init__(self, quorum: Quorum, grace: float | None, limit: float | None, now: Callable[[], float] | None = None) -> None:
        self.quorum, self.grace, self.limit, self.now = quorum, grace, limit, now or _monotonic
        self.seconds: dict[int, float] = {}
        self.start, self._lock = self.now(), threading.Lock()
        self._valid = self._all = 0
        self._begun: float | None = None  # seconds after the start at which the grace period began
        self._begun_long: float | None = None

    def answered(self, valid: bool, node: int | None = None, when: float | None = None) -> None:
        """Another reply has come.

        Args:
            valid: whether it can be used.
            node: whose it is, where that is known.
            when: on its clock; now, where nothing is given.
        """
        with self._lock:
            if node is not None:
                self.seconds[node] = self._now() if when is None else when - self.start
            self._valid, self._all = self._valid + valid, self._all + 1
            if self._begun is None and self._valid >= max(self.quorum):
                self._begun = self._now()
            if self._begun_long is None and self._all >= self.quorum.enough:
                self._begun_long = self._now()

    def over(self) -> bool:
        """Whether to go on with what is there."""
        return self._now() >= self.length()

    def length(self) -> float:
        """Seconds after the start at which it is over, as far as is known by now; infinity where nothing ends it yet."""
        limit = math.inf if self.limit is None else self.limit
        if self._begun is not None:
            return min(limit, self._begun + (_again(self._begun) if self.grace is None else self.grace))
        if self._begun_long is not None:
            return min(limit, self._begun_long + LONG * _again(self._begun_long))
        return limit

    def _now(self) -> float:
        return self.now() - self.start


def _monotonic() -> float:
    return time.monotonic()


def pause(since: float) -> float:
    """Seconds until the next look at what is waited for: a twentieth of those that it has taken, so that few looks cost little lateness.

    A look costs the SuperLink and the server ten milliseconds of a processor.

    Args:
        since: when the waiting began, on the clock `time.monotonic`.

    Example:
        >>> pause(time.monotonic()), round(pause(time.monotonic() - 10.0), 3)
        (0.1, 0.5)
    """
    least, most = BETWEEN
    return min(most, max(least, (time.monotonic() - since) / 20))


def _again(seconds: float) -> float:
    return max(SHORTEST, seconds)
