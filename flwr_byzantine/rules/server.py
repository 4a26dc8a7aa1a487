"""What a server may bring to a round beside the updates: its own update, its loss, its model's answers, the model's layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter

Shape = tuple[int, ...]
Loss = Callable[[Array], float]  # of the model that is moved by a (d,) delta
Predict = Callable[[Array], Array]  # (samples, classes) outputs of that model, on inputs that stay the same within a round


@dataclass(frozen=True)
class Layer:
    """One array of the model: its name, its shape, and where it lies in an update."""

    name: str
    shape: Shape
    place: slice

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The arrays that the d coordinates of an update are made of, in their order.

    Example:
        >>> Layout({"w": (2, 3), "b": (2,)}).layers[1]
        Layer(name='b', shape=(2,), place=slice(6, 8, None))
    """

    shapes: Mapping[str, Shape]

    @property
    def layers(self) -> list[Layer]:
        """One for each array."""
        ends = accumulate((math.prod(shape) for shape in self.shapes.values()), initial=0)
        items = zip(self.shapes.items(), pairwise(ends), strict=True)
        return [Layer(name, tuple(shape), slice(start, stop)) for (name, shape), (start, stop) in items]

    @property
    def d(self) -> int:
        """Number of coordinates."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @classmethod
    def of(cls, given: Any, d: int) -> Layout:
        """The layout that a caller gives: name -> shape, or a sequence of shapes; None is one layer of d.

        Raises:
            InvalidParameter: it is neither, or is not of d coordinates.

        Example:
            >>> [layer.name for layer in Layout.of([(2, 3), (2,)], d=8).layers]
            ['0', '1']
        """
        shapes = _shapes(given, d)
        if not all(isinstance(size, int) and size >= 0 for shape in shapes.values() for size in shape):
            raise InvalidParameter(f"layout must be name -> shape, e.g. {{'w': (2, 3), 'b': (2,)}}, got {given!r}")
        found = cls(shapes)
        if found.d != d:
            raise InvalidParameter(f"layout must be of the updates' {d} coordinates, got shapes of {found.d}: {shapes}")
        return found


def _shapes(given: Any, d: int) -> dict[str, Shape]:
    if given is None:
        return {"0": (d,)}
    if isinstance(given, Layout):
        return dict(given.shapes)
    named = given if isinstance(given, Mapping) else {str(place): shape for place, shape in enumerate(_sequence(given))}
    return {str(name): tuple(_sequence(shape)) for name, shape in named.items()}


def _sequence(given: Any) -> Sequence[Any]:
    if isinstance(given, int):
        return (given,)
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise InvalidParameter(f"layout must be name -> shape, e.g. {{'w': (2, 3), 'b': (2,)}}, got {given!r}")
    return given


@dataclass(frozen=True)
class Server:
    """What the server knows of its own; each rule and stage says what it cannot do without.

    Attributes:
        trusted: (d,) the server's own update.
        loss: the loss, on the server's data, of the model moved by a (d,) delta.
        predict: what the model moved by a (d,) delta says of inputs that stay the same within a round: (samples, classes).
        layout: the model's arrays; None is one of all coordinates.
    """

    trusted: Array | None = None
    loss: Loss | None = None
    predict: Predict | None = None
    layout: Layout | None = None
