"""`Window`: which of a column's sorted values a coordinate-wise rule averages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flwr_byzantine.arrays.typing import Array


@dataclass(frozen=True)
class Window:
    """Which values of an ascending column are averaged: those of ranks [low, high), or the `length` values nearest to their mean.

    The `length` values nearest to the mean are what is left of the column where its farther end is dropped, n - length times; of two
    ends that are equally far the upper one goes. Equal values are dropped one by one. Sums run in float64, in the order of the ranks.

    Example:
        >>> Window(2, 4, length=4).mean(np.array([[-1.0, -1.0, 0.0, 0.0, 0.0, 1.0]])).tolist()  # 1 goes, then a -1
        [-0.25]
    """

    low: int
    high: int
    length: int = 0

    def ranks(self, n: int) -> tuple[int, int]:
        """The ranks that must be in their places; the others need not be sorted."""
        return (0, n) if self.length else (self.low, self.high)

    def first(self, values: Array) -> tuple[Array, int]:
        """First rank of the averaged window in each row of (c, n) ascending values, and its length.

        Of the ranks s and s + length one has to go: s where it is farther. So those that go below are as many as such s.
        """
        if not self.length:
            return np.full(len(values), self.low), self.high - self.low
        centre = _mean_of_ranks(values, self.low, self.high)[:, None]
        with np.errstate(over="ignore"):  # on one side of the centre at most, which is the farther one
            dropped = centre - values[:, : values.shape[1] - self.length] > values[:, self.length :] - centre
        return np.asarray(dropped.sum(axis=1)), self.length

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
