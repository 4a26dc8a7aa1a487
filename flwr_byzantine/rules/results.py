"""What rules return and remember, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flwr_byzantine.arrays.conversion import ArrayKind
from flwr_byzantine.arrays.typing import Array


@dataclass(frozen=True)
class State:
    """What a rule carries from round to round: the round's number and named arrays (all serialisable)."""

    round: int = 0
    arrays: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Aggregate:
    """The answer of `rule.aggregate(X)`.

    Attributes:
        value: (d,) aggregate, of X's kind, dtype and device.
        weights: (n,) share of each row in the aggregate, or None for coordinate-wise rules.
        scores: (n,) the rule's badness score of each row (smaller is better), or None.
        selected: indices of the rows chosen by a selecting rule, or None.
        influence: (n,) non-negative, sums to 1: how much of the aggregate each row owns. From the weights,
            or for coordinate-wise rules from how often a row's value is inside the averaged window.
    """

    value: Any
    weights: Array | None
    scores: Array | None
    selected: tuple[int, ...] | None
    influence: Array


@dataclass(frozen=True)
class Reduced:
    """What the last stage of a chain makes of the rows.

    Attributes:
        blocks: the aggregate, one array for each block.
        weights: (n,) share of each update in it, or None for coordinate-wise rules.
        influence: (n,) as in `Aggregate`.
    """

    blocks: list[Array]
    weights: Array | None
    influence: Array


@dataclass(frozen=True)
class Outcome:
    """What `pipeline.run` returns: as `Aggregate`, but with the value as one array for each block, and with the next state."""

    blocks: list[Array]
    weights: Array | None
    scores: Array | None
    selected: tuple[int, ...] | None
    influence: Array
    state: State

    def aggregate(self, kind: ArrayKind, usable: Sequence[int], n: int) -> Aggregate:
        """The same for all n rows and in the caller's kind of array; those not in `usable` have no weight and the worst score."""
        selected = None if self.selected is None else tuple(usable[i] for i in self.selected)
        weights, scores = _spread(self.weights, usable, n, 0.0), _spread(self.scores, usable, n, np.inf)
        influence = np.zeros(n)
        influence[usable] = self.influence
        return Aggregate(kind.restore(self.blocks[0]), weights, scores, selected, influence)


def _spread(values: Array | None, places: Sequence[int], n: int, fill: float) -> Array | None:
    """(n,) array with `values` at `places` and `fill` elsewhere."""
    if values is None:
        return None
    full = np.full(n, fill)
    full[places] = values
    return full


@dataclass(frozen=True)
class Combination:
    """What a mixing rule answers: m combinations of n rows.

    Attributes:
        matrix: (m, n) weights of the rows in each combination; further columns weigh the rule's anchors.
        scores: (n,) badness of each row (smaller is better), or None.
        selected: the rows chosen by a selecting rule, or None.
    """

    matrix: Array
    scores: Array | None = None
    selected: tuple[int, ...] | None = None


def mean_of(selected: Sequence[int], n: int, scores: Array | None = None) -> Combination:
    """The mean of the selected rows of n, the indices in any order.

    Example:
        >>> mean_of([0, 2], 4).matrix.tolist()
        [[0.5, 0.0, 0.5, 0.0]]
    """
    return Combination(rows_matrix(selected, n).mean(axis=0, keepdims=True), scores, tuple(sorted(selected)))


def rows_matrix(selected: Sequence[int], n: int) -> Array:
    """(len(selected), n) matrix that picks rows."""
    return np.eye(n)[list(selected)]
