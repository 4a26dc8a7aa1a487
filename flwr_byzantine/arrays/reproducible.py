"""`Reproducible`: updates of which rules compute the same bits on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from flwr_byzantine.arrays import fixed
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.ordered import norm, ordered, plain
from flwr_byzantine.arrays.typing import Array, Reduce
from flwr_byzantine.arrays.updates import SAMPLE, Updates
from flwr_byzantine.arrays.window import Window


class Reproducible(Updates):
    """`Updates` whose passes are those of `fixed`, and which hand out `Ordered` arrays, so that what rules make of these is ordered too.

    Example:
        >>> Reproducible([Block(list(np.eye(2)))]).gram()
        Ordered([[1., 0.],
                 [0., 1.]])
    """

    passes: ClassVar[Any] = fixed

    def numbers(self, values: Array) -> Array:
        """The values, ordered."""
        return ordered(values)

    def of_rows(self, rows: Sequence[Array]) -> Reproducible:
        """As of `Updates`."""
        return Reproducible([Block([plain(row) for row in rows])])

    def _gram(self, centres: Sequence[Any], exact: bool) -> Array:
        return ordered(super()._gram(centres, exact))

    def _scaled_gram(self, factors: Array, centre: int | None) -> Array:
        return ordered(super()._scaled_gram(factors, centre))

    def _peaks(self) -> Array:
        return ordered(super()._peaks())

    def _distances(self, left: Sequence[int], right: Sequence[int]) -> Array:
        return ordered(super()._distances(left, right))

    def _sq_distances_to(self, centres: Sequence[Any]) -> Array:
        return ordered(super()._sq_distances_to(centres))

    def origins(self) -> Array:
        """As of `Updates`, ordered."""
        return ordered(super().origins())

    def deltas(self, values: Sequence[Array]) -> Array:
        """As of `Updates`, ordered."""
        return ordered(super().deltas(values))

    def at(self, coordinates: Array) -> Array:
        """As of `Updates`, ordered."""
        return ordered(super().at(np.asarray(coordinates)))

    def sample(self, size: int = SAMPLE, mixing: Array | None = None) -> Array:
        """As of `Updates`, ordered."""
        return ordered(super().sample(size, None if mixing is None else ordered(mixing)))

    def length(self, values: Sequence[Array]) -> float:
        """As of `Updates`."""
        return float(norm(self.deltas(values)))

    def windows(self, window: Window, mixing: Array | None = None) -> list[Array]:
        """As of `Updates`."""
        return super().windows(window, None if mixing is None else ordered(mixing))

    def columns(self, reduce: Reduce, mixing: Array | None = None) -> list[Array]:
        """As of `Updates`."""
        return super().columns(reduce, None if mixing is None else ordered(mixing))
