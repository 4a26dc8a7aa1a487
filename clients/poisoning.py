"""Clients that train honestly on poisoned data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flwr.client import NumPyClient

from clients.base import MaliciousClient


class FlippedLabels:
    """A view of labelled data in which label y reads num_classes - 1 - y.

    Args:
        data: an iterable of (x, y) pairs: a DataLoader, a Dataset, a list; y a number, an array or a tensor.
        num_classes: number of classes.
    """

    def __init__(self, data: Any, num_classes: int) -> None:
        self.data, self.num_classes = data, num_classes

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        x, y = self.data[index]
        return x, self.num_classes - 1 - y

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for x, y in self.data:
            yield x, self.num_classes - 1 - y

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)


class LabelFlipClient(MaliciousClient):
    """Trains on y → num_classes - 1 - y, evaluates honestly (Tolpegin et al., ESORICS 2020, all labels).

    Args:
        honest: the client to wrap; it must keep its training data in an attribute.
        num_classes: number of classes.
        data: the attribute's name: holds an iterable of (x, y) pairs, or a pair of arrays (X, y).

    Raises:
        AttributeError: the honest client has no such attribute.
    """

    def __init__(self, honest: NumPyClient, num_classes: int = 10, data: str = "trainloader") -> None:
        super().__init__(honest)
        if not hasattr(honest, data):
            raise AttributeError(
                f"LabelFlipClient needs the training data of {type(honest).__name__} in an attribute, found no {data!r}; name it by data="
            )
        self.num_classes, self.data = num_classes, data

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        """Honest training on flipped labels; the data is put back afterwards."""
        clean = getattr(self.honest, self.data)
        setattr(self.honest, self.data, self._flipped(clean))
        try:
            return self.honest.fit(parameters, config)
        finally:
            setattr(self.honest, self.data, clean)

    def _flipped(self, clean: Any) -> Any:
        if isinstance(clean, tuple) and len(clean) == 2 and len(clean[0]) == len(clean[1]):
            return clean[0], self.num_classes - 1 - clean[1]
        return FlippedLabels(clean, self.num_classes)
