"""Distances, norms and inner products of rows, accurate whatever the rows hold, from a few kinds of pass over them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import NotFinite

COMPARED_FIRST = 32  # coordinates looked at first when rows are put in order
HUGE = 1e75  # longer rows count as this long: squares of their inner products are still far from overflow
TINY = 1e-75  # where most rows are shorter, lengths are measured in a smaller unit: squares of inner products underflow
ROUGH = 2e-2  # below this share of the norms, a distance from products in float32 is computed again
ROUNDED_OFF = 1e-6  # the same for products in float64


class Geometry(ABC):
    """What rules ask about n rows of d coordinates, in terms of passes that a subclass makes where the rows lie.

    Attributes:
        n: number of rows.
        d: number of coordinates.
    """

    n: int
    d: int

    def gram(self, centred: bool = False, factors: Array | None = None) -> Array:
        """(n, n) float64 inner products of the deltas to the origin; not all finite where values or their squares are not.

        Distances that products in float32 leave too uncertain are computed again, from differences in float64.

        Args:
            centred: distances matter and the place of the origin does not. Where the rows lie in a cluster that is far
                from the origin compared with its size, a second pass takes the innermost row as origin, which keeps
                ‖x_i - x_j‖² accurate (Gii + Gjj - 2Gij would cancel).
            factors: (n,) how many times each delta counts; 1 by default. See `Limits`.
        """
        G, exact = self._products(None, factors)
        centre = None
        if centred and self.n > 1 and G.diagonal().max() <= HUGE**2 and _cancellation(G, ROUNDED_OFF if exact else ROUGH):
            centre = int(np.argmin(np.median(sq_distances(G), axis=1)))
            G, exact = self._products(centre, factors)
        return G if exact else self._refined(G, centre)

    @abstractmethod
    def _centres(self, row: int | None = None) -> list[Any]:
        """Per block, what deltas are measured from: the origin (None: zeros), or a row."""

    @abstractmethod
    def _multiplies_in_float32(self) -> bool:
        """Whether some products are of float32 values unless `_gram` is asked for exact ones."""

    @abstractmethod
    def _gram(self, centres: Sequence[Any], exact: bool) -> Array:
        """(n, n) inner products of the deltas to `centres`; `exact` multiplies in float64."""

    @abstractmethod
    def _scaled_gram(self, factors: Array, centre: int | None) -> Array:
        """(n, n) inner products of the deltas to the origin times `factors`, less row `centre` of these; exact."""

    @abstractmethod
    def _peaks(self) -> Array:
        """(n,) largest absolute value of each row's delta to the origin."""

    @abstractmethod
    def _distances(self, left: Sequence[int], right: Sequence[int]) -> Array:
        """(p,) float64 squared distances between p pairs of rows."""

    @abstractmethod
    def _sq_distances_to(self, centres: Sequence[Any]) -> Array:
        """(n,) float64 squared distances to `centres`."""

    @abstractmethod
    def _compare(self, i: int, j: int) -> int:
        """Negative where row i comes before row j, by their first different value; of equal rows the smaller id does."""

    @abstractmethod
    def finite(self) -> list[bool]:
        """For each row, whether all of its values are finite."""

    @abstractmethod
    def sample(self, size: int) -> Array:
        """(n, ≤ size) float64 values of evenly spaced coordinates."""

    def _products(self, centre: int | None, factors: Array | None) -> tuple[Array, bool]:
        """The Gram matrix, and whether all of it was multiplied in float64: always where float32 would over- or underflow."""
        if factors is not None:
            return self._scaled_gram(factors, centre), True
        exact, centres = not self._multiplies_in_float32(), self._centres(centre)
        G = self._gram(centres, exact)
        if not exact and not (np.isfinite(G).all() and np.median(G.diagonal()) > 1e-24 * self.d):
            G, exact = self._gram(centres, exact=True), True
        return G, exact

    def _refined(self, G: Array, centre: int | None) -> Array:
        norms, centres = np.diag(G), self._centres(centre)
        left, right = np.nonzero(np.triu(sq_distances(G) < ROUGH * (norms[:, None] + norms[None, :]), 1))
        if len(left) > 2 * self.n:
            return self._gram(centres, exact=True)
        if len(left):
            G[left, right] = G[right, left] = (norms[left] + norms[right] - self._distances(left.tolist(), right.tolist())) / 2
        return G

    def sq_norms(self) -> Array:
        """(n,) float64 squared norms of the deltas to the origin, in one pass over the data; finite or not as `gram` is."""
        return self._sq_distances_to(self._centres())

    def sq_distances_to(self, i: int) -> Array:
        """(n,) float64 squared distances to row i, in one pass over the data; finite or not as `gram` is."""
        return self._sq_distances_to(self._centres(i))

    def limits(self, squares: Array) -> Limits | None:
        """What must be done to the rows before `squares`, sums of squares of their values, can be relied on; usually nothing.

        Raises:
            NotFinite: a value is not.
        """
        if self.d == 0 or (squares.max() <= HUGE**2 and np.median(squares) >= TINY**2):  # not where one is NaN
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            peaks = self._peaks()
        if not np.isfinite(peaks).all() and not all(self.finite()):
            raise NotFinite("updates must be finite")
        return Limits.of(peaks, self.d)

    def order(self) -> Array:
        """(n,) indices that sort the rows by their values, lexicographically: an order that no arrival or numbering can change."""
        if self.n < 2 or self.d == 0:
            return np.arange(self.n)
        few = self.sample(COMPARED_FIRST)
        order = np.lexsort(few.T[::-1])
        equal = (few[order[1:]] == few[order[:-1]]).all(axis=1)
        if not equal.any():
            return order
        groups = np.split(order, np.flatnonzero(~equal) + 1)  # rows that are alike so far
        return np.concatenate([sorted(group.tolist(), key=cmp_to_key(self._compare)) for group in groups]).astype(np.int64)


@dataclass(frozen=True)
class Limits:
    """How much of each row counts, and the unit of length, where squares of the rows' values would leave float64's range.

    A row whose length is beyond 1e75 units counts as one of that length in the same direction: no client can make
    arithmetic fail, and what a rule then gives the row it gets of this shorter one.

    Attributes:
        factors: (n,) what each delta is multiplied by, 1 at most.
        unit: 1, or a power of two where most rows are longer than 1e75 or shorter than 1e-75.

    Example:
        >>> Limits.of(np.array([1.0, 2.0, 1e300]), d=1)
        Limits(factors=array([1.e+000, 1.e+000, 1.e-225]), unit=1.0)
    """

    factors: Array
    unit: float

    @property
    def scale(self) -> Array:
        """(n,) what makes the rows' deltas into the ones that count, in units of `unit`."""
        return self.factors / self.unit

    @classmethod
    def of(cls, peaks: Array, d: int) -> Limits | None:
        """The limits for rows of d values with these largest absolute ones; None where all rows count as they are."""
        peaks = np.minimum(peaks, np.finfo(np.float64).max)
        middle = float(np.sort(peaks)[(len(peaks) - 1) // 2])
        unit = 1.0 if middle == 0.0 or TINY <= middle <= HUGE else 2.0 ** max(-1000, min(nearest_power(middle), 1000))
        with np.errstate(over="ignore"):
            reach, longest = peaks / unit, HUGE / np.sqrt(d)
        factors = longest / np.maximum(reach, longest)
        return None if unit == 1.0 and factors.min() == 1.0 else cls(factors, unit)


def nearest_power(value: float) -> int:
    """The exponent of the power of two that is nearest to a positive number, on a scale of powers.

    Example:
        >>> nearest_power(5.0), nearest_power(6.0)
        (2, 3)
    """
    part, exponent = math.frexp(value)
    return exponent - (part < math.sqrt(0.5))


def sq_distances(G: Array) -> Array:
    """(n, n) squared distances from a Gram matrix: never negative, zero on the diagonal."""
    norms = np.diag(G)
    D: Array = norms[:, None] + norms[None, :]
    D -= 2.0 * G
    np.maximum(D, 0.0, out=D)
    np.fill_diagonal(D, 0.0)
    return D


def cosines(G: Array) -> Array:
    """(n, n) cosine similarities from a Gram matrix; 0 where a row is zero."""
    norms = np.sqrt(np.maximum(np.diag(G), 0.0))
    safe = np.where(norms > 0, norms, 1.0)
    return np.asanyarray(np.clip(G / safe[:, None] / safe[None, :], -1.0, 1.0))


def within(values: Array, dtype: Any) -> Array:
    """The values in a dtype of floats, those beyond its range as its largest ones: what is added to finite rows is finite."""
    ends = np.finfo(dtype)
    return np.clip(values, ends.min, ends.max).astype(dtype)


def sign(x: Array, y: Array) -> int:
    """-1, 0 or 1: which of two vectors comes first, by their first different value."""
    different = np.flatnonzero(x != y) if x is not y else np.zeros(0)
    return 0 if len(different) == 0 else -1 if x[different[0]] < y[different[0]] else 1


def _cancellation(G: Array, share: float) -> bool:
    """Whether the smallest fifth of the distances is below `share` of the norms that they are differences of."""
    n, norms = len(G), np.diag(G)
    fifth = n + n * (n - 1) // 5  # place among all n² distances in ascending order: n zeros, then each pair's twice
    return bool(np.partition(sq_distances(G), fifth, axis=None)[fifth] < share * np.partition(norms, n // 2)[n // 2])
