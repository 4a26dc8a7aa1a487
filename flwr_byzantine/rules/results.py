"""What rules return and remember, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
class Outcome:
    """The same per block, before the caller's kind of array is restored; with the next state."""

    blocks: list[Array]
    weights: Array | None
    scores: Array | None
    selected: tuple[int, ...] | None
    influence: Array
    state: State

    def per_row(self) -> list[tuple[Array | None, float]]:
        """What is known of each row, with what a row that was left out gets."""
        return [(self.weights, 0.0), (self.scores, np.inf), (self.influence, 0.0)]


@dataclass(frozen=True)
class Mix:
    """What a mixing rule returns: an (m, n) matrix, and scores and selection where it has them."""

    matrix: Array
    scores: Array | None = None
    selected: tuple[int, ...] | None = None
