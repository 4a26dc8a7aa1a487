"""What rules return and remember, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
class Detection:
    """What one detector of a chain says of the n rows.

    Attributes:
        name: of the detector's class.
        scores: (n,) how suspicious each row is, larger is worse; NaN where it did not judge one, since another had left it out.
        threshold: what a score is compared with; None where it compares with nothing, and leaves nobody out for his score.
        kept: (n,) bool, false for the rows that it leaves out.

    Example:
        >>> Detection("FLDetector", np.array([0.25, 3.2]), 1.1, np.array([True, False])).reason(1)
        'left out by FLDetector: score 3.2 > 1.1'
    """

    name: str
    scores: Array
    threshold: float | None
    kept: Array

    def spread(self, places: Sequence[int], n: int) -> Detection:
        """The same of n rows, of which those judged are at `places`."""
        kept = np.ones(n, bool)
        kept[places] = self.kept
        scores = _spread(self.scores, places, n, np.nan)
        assert scores is not None
        return Detection(self.name, scores, self.threshold, kept)

    def reason(self, i: int) -> str:
        """Why row i is left out."""
        score, threshold = float(self.scores[i]), self.threshold
        compared = f": score {score:.4g}"
        if threshold is not None:
            compared += f" > {threshold:.4g}" if score > threshold else f", not among the best (threshold {threshold:.4g})"
        return f"left out by {self.name}{compared}"


@dataclass(frozen=True)
class Verdict:
    """A detector's answer for the n rows of its view.

    Attributes:
        scores: (n,) how suspicious each row is, larger is worse.
        kept: (n,) bool, false for the rows to leave out.
        threshold: what a score is compared with, or None.
        memory: named arrays for the next round.
        factors: (n,) how many times each row that stays counts from here on (clipping); None is once.
    """

    scores: Array
    kept: Array
    threshold: float | None = None
    memory: Mapping[str, Array] = field(default_factory=dict)
    factors: Array | None = None


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
        detections: what each detector of a chain says of the rows.
    """

    value: Any
    weights: Array | None
    scores: Array | None
    selected: tuple[int, ...] | None
    influence: Array
    detections: tuple[Detection, ...] = ()


@dataclass(frozen=True)
class Reduced:
    """What the last stage of a chain makes of the rows.

    Attributes:
        blocks: the aggregate, one array for each block.
        weights: (n,) share of each update in it, or None for coordinate-wise rules.
        influence: (n,) as in `Aggregate`.
        scores: (n,) badness of each update, or None where the rule has no scores, or the stage before it has.
    """

    blocks: list[Array]
    weights: Array | None
    influence: Array
    scores: Array | None = None


@dataclass(frozen=True)
class Outcome:
    """What `pipeline.run` returns: as `Aggregate`, but with the value as one array for each block, and with the next state."""

    blocks: list[Array]
    weights: Array | None
    scores: Array | None
    selected: tuple[int, ...] | None
    influence: Array
    state: State
    detections: tuple[Detection, ...] = ()

    def aggregate(self, kind: ArrayKind, usable: Sequence[int], n: int) -> Aggregate:
        """The same for all n rows and in the caller's kind of array; those not in `usable` have no weight and the worst score."""
        selected = None if self.selected is None else tuple(usable[i] for i in self.selected)
        weights, scores = _spread(self.weights, usable, n, 0.0), _spread(self.scores, usable, n, np.inf)
        influence = np.zeros(n)
        influence[usable] = self.influence
        detections = tuple(found.spread(usable, n) for found in self.detections)
        return Aggregate(kind.restore(self.blocks[0]), weights, scores, selected, influence, detections)

    def spread(self, places: Sequence[int], n: int) -> Outcome:
        """The same for n rows, of which those at `places` were left for the rule; its choice is what it chose, or was left."""
        chosen = range(len(places)) if self.selected is None else self.selected
        selected = tuple(int(places[i]) for i in chosen)
        weights, scores = _spread(self.weights, places, n, 0.0), _spread(self.scores, places, n, np.inf)
        influence = np.zeros(n)
        influence[places] = self.influence
        return replace(self, weights=weights, scores=scores, selected=selected, influence=influence)


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
