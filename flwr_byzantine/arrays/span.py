"""Few vectors of many values, by their coordinates in the space that they span: all that depends on inner products is the same there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Updates


class ValuesNeeded(Exception):
    """Values of coordinates were asked for where only inner products are known."""


class Span:
    """The space that k vectors of d values and the origin span, found in one pass over them; no basis of it is formed.

    Lengths and angles are kept to float64's precision, measured from `centre`: it should be amid the vectors.

    Args:
        rows: k vectors.
        centre: (d,) a vector.

    Attributes:
        points: (k, m) coordinates of the vectors, m <= k + 1; none where the vectors are not finite, or all zero.
        centre: (m,) coordinates of `centre`.

    Example:
        >>> span = Span([np.array([3.0, 0.0, 4.0, 0.0]), np.array([3.0, 0.0, 4.0, 1.0])], np.zeros(4))
        >>> span.points.shape, (span.points @ span.points.T).round(9).tolist()
        ((2, 2), [[25.0, 25.0], [25.0, 26.0]])
        >>> span.lifted(span.points[1:]).round(9).tolist()
        [[3.0, 0.0, 4.0, 1.0]]
    """

    def __init__(self, rows: Sequence[Array], centre: Array) -> None:
        self._updates = Updates([Block([*rows, np.zeros_like(centre)], centre)])
        G = self._updates.gram()
        lengths = np.sqrt(np.diag(G))
        lengths[lengths == 0] = 1.0
        values, vectors = np.linalg.eigh(G / lengths[:, None] / lengths) if np.isfinite(G).all() else (np.zeros(1), G[:, :1])
        kept = values > len(G) * np.finfo(float).eps * values[-1]
        sizes = np.sqrt(values[kept])
        apart = lengths[:, None] * vectors[:, kept] * sizes
        self._basis = vectors[:, kept] / sizes / lengths[:, None]  # each of the m basis vectors as a combination of the rows
        self.centre = -apart[-1]
        self.points = apart[:-1] + self.centre

    def lifted(self, points: Array) -> Array:
        """(p, d) the vectors with these (p, m) coordinates."""
        return np.array([self._updates.combine(self._basis @ (point - self.centre))[0] for point in points])


class Embedded(Updates):
    """Rows given as points of a `Span`; `ValuesNeeded` is raised where a rule looks at the values of coordinates, which these are not."""

    def at(self, coordinates: Array) -> NoReturn:
        """Not known."""
        raise ValuesNeeded

    def windows(self, *_: Any) -> NoReturn:
        """Not known."""
        raise ValuesNeeded

    def columns(self, *_: Any) -> NoReturn:
        """Not known."""
        raise ValuesNeeded

    def shifted(self, *_: Any) -> NoReturn:
        """Not known: noise is added to values."""
        raise ValuesNeeded
