"""What pulling one reply may cost, counted before anything is expanded, and whether it is still wanted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from flwr.app import ArrayRecord, Message

from flwr_byzantine.errors import MalformedUpdate

RATIO = 4  # a reply's values may be this many times the model's size: float64 for float16
PER_ARRAY = 1 << 16  # bytes for each array's header, and for the reply as a whole
WORDS = 1 << 21  # bytes of all that is no array: metrics, configs, names, error texts
UNKNOWN = 1 << 30  # bytes of values where no model was sent to compare with
OBJECTS = 1_000  # parts that Flower may have cut a reply into, beside those of its arrays
STALLED = 1.0  # seconds without a part of the reply, after which others are pulled beside it


@dataclass(frozen=True)
class Cost:
    """What a reply may cost at most.

    Attributes:
        values: bytes of arrays.
        words: bytes of everything else.
        objects: parts in which it is uploaded.

    Example:
        >>> Cost.like([]).values
        1073741824
    """

    values: int = UNKNOWN
    words: int = WORDS
    objects: int = 100 * OBJECTS

    @classmethod
    def like(cls, sent: Iterable[Message]) -> Cost:
        """What a reply to one of these messages may cost: several times the model that was sent."""
        contents = {id(message.content): message.content for message in sent if message.has_content()}
        models = [[*record.items()] for content in contents.values() for record in content.values() if isinstance(record, ArrayRecord)]
        return max((cls._of([(name, len(array.data)) for name, array in model]) for model in models if model), default=cls(), key=_values)

    @classmethod
    def _of(cls, arrays: list[tuple[str, int]]) -> Cost:
        values = RATIO * sum(size for _, size in arrays) + PER_ARRAY * (1 + len(arrays))
        names = sum(len(name) for name, _ in arrays)
        return cls(values, WORDS + RATIO * names + 256 * len(arrays), OBJECTS + RATIO * len(arrays) + values // PER_ARRAY)


def _values(cost: Cost) -> int:
    return cost.values


class Upload:
    """One reply on its way: counts what comes, and ends it where it costs too much or is no longer wanted.

    Args:
        cost: what it may cost.

    Attributes:
        announced: whether the SuperLink has said that the node has answered.
    """

    def __init__(self, cost: Cost) -> None:
        self.cost, self.announced = cost, False
        self._ended = "expected the whole reply in time, got a part of it"
        self._values = self._words = 0
        self._touched = time.monotonic()
        self._cancelled, self._lock = threading.Event(), threading.Lock()

    @property
    def stalled(self) -> bool:
        """Whether nothing has come for a while."""
        return time.monotonic() - self._touched > STALLED

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._cancelled.set()

    def wait(self, seconds: float) -> None:
        """Wait for the next part to be there.

        Raises:
            MalformedUpdate: it was cancelled.
        """
        if self._cancelled.wait(seconds):
            raise MalformedUpdate(self._ended)

    def begin(self, objects: int) -> None:
        """The reply is announced in so many parts."""
        self.announced = True
        self._require(objects <= self.cost.objects, f"a reply in at most {self.cost.objects} parts, got {objects}")

    def took(self, size: int, is_values: bool) -> None:
        """A part has come."""
        with self._lock:
            self._touched = time.monotonic()
            self._values += size * is_values
            self._words += size * (not is_values)
        self.expands(self._values)
        self._require(self._words <= self.cost.words, f"at most {self.cost.words} bytes of metrics, configs and names, got {self._words}")

    def expands(self, size: int) -> None:
        """The reply's arrays would have so many bytes."""
        self._require(size <= self.cost.values, f"at most {self.cost.values} bytes of arrays, by the model's size, got {size}")

    def _require(self, affordable: bool, expected: str) -> None:
        if not affordable:
            self._ended = f"expected {expected}; not read"
            self.cancel()
            raise MalformedUpdate(self._ended)
