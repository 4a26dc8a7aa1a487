"""`Window`: which of a column's sorted values a coordinate-wise rule averages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flwr_byzantine.arrays.typing import Array


@dataclass(frozen=True)
class Window:
    """Which values of an ascending column are averaged: those of ranks [low, high), or the `length` values nearest to their mean.

    The `length` values nearest to the mean are a contiguous window of the column: among the n - length + 1 windows, the one whose
    farthest end is nearest; ties go to the lower values. Sums run in float64, in the order of the ranks.
    """

    low: int
    high: int
    length: int = 0

    def ranks(self, n: int) -> tuple[int, int]:
        """The ranks that must be in their places; the others need not be sorted."""
        return (0, n) if self.length else (self.low, self.high)

    def first(self, values: Array) -> tuple[Array, int]:
        """First rank of the averaged window in each row of (c, n) ascending values, and its length."""
        if not self.length:
            return np.full(len(values), self.low), self.high - self.low
        centre = _mean_of_ranks(values, self.low, self.high)[:, None]
        reach = np.maximum(centre - values[:, : values.shape[1] - self.length + 1], values[:, self.length - 1 :] - centre)
        return np.asarray(np.argmin(reach, axis=1)), self.length

    def mean(self, values: Array) -> Array:
        """(c,) float64 means of the windows of (c, n) ascending values."""
        if not self.length:
            return _mean_of_ranks(values, self.low, self.high)
        first, total = self.first(values)[0], np.zeros(len(values))
        for rank in range(values.shape[1]):
            total += np.where((first <= rank) & (rank < first + self.length), values[:, rank], 0.0)
        return total / self.length


def _mean_of_ranks(values: Array, low: int, high: int) -> Array:
    total = np.zeros(len(values))
    with np.errstate(over="ignore"):  # float64 only: `round_into` brings infinity back into the range
        for rank in range(low, high):  # one after another, as the compiled kernel adds them
            total += values[:, rank]
    return total / (high - low)
