"""What a process keeps between the messages that it handles: values that depend on nothing but their sources."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Values by key, each kept as long as the objects that it was made from are the same ones.

    Args:
        size: how many keys are kept; the one that was used longest ago goes first.

    Example:
        >>> lengths, text = Cache(size=2), "abc"
        >>> [lengths.get("a", [text], lambda: len(text)), lengths.get("a", [text], lambda: -1)]
        [3, 3]
        >>> lengths.get("a", ["another"], lambda: 7)
        7
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: dict[Hashable, tuple[tuple[object, ...], T]] = {}

    def get(self, key: Hashable, sources: Sequence[object], make: Callable[[], T]) -> T:
        """The value kept under `key` if it was made from these very objects, else a new one."""
        found = self._kept.pop(key, None)
        if found is None or len(found[0]) != len(sources) or any(new is not old for new, old in zip(sources, found[0], strict=True)):
            found = tuple(sources), make()
        self._kept[key] = found
        if len(self._kept) > self.size:
            del self._kept[next(iter(self._kept))]
        return found[1]
