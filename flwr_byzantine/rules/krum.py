"""Krum and the rules built on its score."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.families import Mixing
from flwr_byzantine.rules.results import Combination, mean_of
from flwr_byzantine.rules.view import View

PAPER, WIDER = "n-f-2", "n-f-1"
SQUARES, FOURTH = 2, 4  # powers of the distances that a score sums
TOGETHER = 1024  # rows whose distances are sorted at a time


def neighbour_count(n: int, f: int, neighbors: str = PAPER) -> int:
    """How many other rows a score looks at: n - f - 2 (or n - f - 1), one at least where there is one."""
    return min(max(1, n - f - (1 if neighbors == WIDER else 2)), n - 1)


def nearest_others(D: Array) -> tuple[Array, Array]:
    """For each of n rows the n - 1 others, nearest first: their indices, and their squared distances."""
    order = np.argsort(D + np.diag(np.full(len(D), np.inf)), axis=1, kind="stable")[:, : len(D) - 1]
    return order, np.take_along_axis(D, order, axis=1)


def krum_scores(D: Array, f: int, neighbors: str = PAPER, power: int = SQUARES) -> Array:
    """(n,) sums of the distances to the nearest other rows, each to this power; D holds their squares."""
    k = neighbour_count(len(D), f, neighbors)
    return np.asanyarray(np.concatenate([_sums(D, start, k, power) for start in range(0, len(D), TOGETHER)]))


def _sums(D: Array, start: int, k: int, power: int) -> Array:
    """The scores of some rows, from this one on: what is sorted is small beside D."""
    part = D[start : start + TOGETHER].copy()
    part[np.arange(len(part)), np.arange(start, start + len(part))] = np.inf
    near = np.sort(part, axis=1)[:, :k]
    return np.asanyarray((near if power == SQUARES else near**2).sum(axis=1))


def smallest_n(f: int, neighbors: str) -> int:
    """Smallest n at which Krum's score withstands f rows: 2f + 3, or 2f + 1 with one neighbour more."""
    return 2 * f + (1 if neighbors == WIDER else 3)


def lowest_scores_kappa(n: int, f: int, m: int, neighbors: str = PAPER) -> float:
    """κ of the mean of the m <= n - f rows of lowest score.

    Derived here, in units where the honest variance is 1. Honest rows are 2h apart from all honest ones in the mean (squared,
    summed), so the mean honest score, of k neighbours, is at most s = 2hk / (h - 1), and that of the m lowest too. Of a row and
    its k neighbours t = k + 1 - f at least are honest: it is within √(score / t) of their mean, which is within
    c = √((h - t) / t) of the honest mean by the lemma of `Rule.kappa`. Hence, by Jensen, √κ <= √(s / t) + c. Counted apart, b
    Byzantine rows among the m add √(b s / (m t)) + c b / m at most, the others √((m - b)(h - m + b)) / m by the lemma.
    """
    h, k = n - f, neighbour_count(n, f, neighbors)
    t, s = k + 1 - f, 2 * h * k / max(h - 1, 1)
    c = sqrt((h - t) / t)
    apart = max(sqrt((m - b) * (h - m + b)) / m + sqrt(b * s / (m * t)) + c * b / m for b in range(min(f, m) + 1))
    return min(sqrt(s / t) + c, apart) ** 2


def krum_order(D: Array, f: int, count: int) -> list[int]:
    """The first `count` rows picked by Krum, each from the n' rows that the picks before it left, by n' - f - 2 neighbours."""
    (order, near), left, picks = nearest_others(D), np.arange(len(D)), list[int]()
    for _ in range(count):
        best = int(np.argmin(near[:, : neighbour_count(len(left), f)].sum(axis=1)))
        picks.append(int(left[best]))
        left, order, near = (np.delete(part, best, axis=0) for part in (left, order, near))
        stay = order != picks[-1]
        order, near = (part[stay].reshape(len(left), max(len(left) - 1, 0)) for part in (order, near))
    return picks


@dataclass(frozen=True)
class Krum(Mixing):
    """The row whose n - f - 2 nearest other rows are nearest, by the sum of squared distances.

    Convention: the paper's (squared Euclidean distances, n - f - 2 neighbours without the row itself, ties to
    the first row). ByzFL and ByzPy take n - f - 1 neighbours, Flower one at least whatever n; the code of the bucketing
    paper (Karimireddy, He, Jaggi, ICLR 2022) and Blades sum fourth powers.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 3, with neighbors="n-f-1" n >= 2f + 1.
        neighbors: "n-f-2", or "n-f-1" as ByzFL and ByzPy count.
        power: of the distances that the score sums: 2, or 4, for which no κ is known.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> Krum(f=1)(np.array([[0.0], [1.0], [1.1], [1.2], [90.0]])).tolist()
        [1.1]
    """

    f: int = param(ge=0)
    neighbors: str = param(PAPER, kind=str, choices=(PAPER, WIDER))
    power: int = param(SQUARES, choices=(SQUARES, FOURTH))
    reference: ClassVar[str] = "Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017"
    ties_by_position: ClassVar[bool] = True
    sees_all: ClassVar[bool] = True

    def min_n(self) -> int:
        """2f + 3, or 2f + 1 with one neighbour more."""
        return smallest_n(self.f, self.neighbors)

    def kappa(self, n: int) -> float | None:
        """(√(2h (h - 2) / ((h - 1) t)) + √((h - t) / t))², t = n - 2f - 1; with one neighbour more (√(2h) + √f)² / (n - 2f).

        See `lowest_scores_kappa` for the proof; for f = 0 at most n - 1. With one neighbour more it is below the published
        6 (1 + f / (n - 2f)) (Allouah et al., AISTATS 2023), with n - f - 2 above it only where f is close to n/2.
        """
        return lowest_scores_kappa(n, self.f, 1, self.neighbors) if n >= self.min_n() and self.power == SQUARES else None

    def mix(self, view: View) -> Combination:
        """One-hot at the lowest score."""
        scores = krum_scores(sq_distances(view.gram), self.f, self.neighbors, self.power)
        return mean_of([int(np.argmin(scores))], view.n, scores)


@dataclass(frozen=True)
class MultiKrum(Mixing):
    """The mean of m rows chosen by Krum's score.

    Convention: one-shot by default, the m rows of lowest score, as everywhere in practice. `iterated=True` is the
    paper's m-Krum: pick, remove, score the rest again. The mean is unweighted; Flower's weighs by num-examples.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 3 (one-shot, with neighbors="n-f-1" n >= 2f + 1) and n >= f + m.
        m: how many rows to keep; None keeps n - f (one-shot, as ByzFL) or n - 2f - 3 (iterated, the most its proof allows).
        iterated: score again after each pick; then n - m >= 2f + 3 is needed (the paper's 2f + 2 < n - m).
        neighbors: "n-f-2", or "n-f-1" as ByzFL and ByzPy count (one-shot).
        power: of the distances that the score sums, see `Krum` (one-shot).

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> MultiKrum(f=1, m=2)(np.array([[0.0], [1.0], [1.5], [2.0], [90.0]])).tolist()
        [1.25]
    """

    f: int = param(ge=0)
    m: int | None = param(None, ge=1, optional=True)
    iterated: bool = param(False, kind=bool)
    neighbors: str = param(PAPER, kind=str, choices=(PAPER, WIDER))
    power: int = param(SQUARES, choices=(SQUARES, FOURTH))
    reference: ClassVar[str] = "Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017"
    ties_by_position: ClassVar[bool] = True
    sees_all: ClassVar[bool] = True

    def min_n(self) -> int:
        """2f + 3 and f + m (one-shot; 2f + 1 with one neighbour more), or 2f + 3 + m (iterated)."""
        if self.iterated:
            return 2 * self.f + 3 + (self.m or 1)
        return max(smallest_n(self.f, self.neighbors), self.f + (self.m or 1))

    def kappa(self, n: int) -> float | None:
        """That of `lowest_scores_kappa`: never above Krum's, and it goes to 0 with f/n for m = n - f.

        Iterated, the mean over i < m of (1 + κ_i) h / (h - i) - 1 with κ_i Krum's at n - i rows. Derived here: the pick after i is
        within κ_i of any h - i honest rows that are left, so that the lemma of `Rule.kappa` and Cauchy-Schwarz give that; Jensen.
        """
        if n < self.min_n() or (self.power != SQUARES and not self.iterated):
            return None
        f, m, h = self.f, self.keep(n), n - self.f
        if not self.iterated:
            return lowest_scores_kappa(n, f, m, self.neighbors)
        return sum((1 + lowest_scores_kappa(n - i, f, 1)) * h / (h - i) - 1 for i in range(m)) / m

    def keep(self, n: int) -> int:
        """m, or its default at n rows."""
        return self.m or (n - 2 * self.f - 3 if self.iterated else n - self.f)

    def mix(self, view: View) -> Combination:
        """1/m on each of the kept rows."""
        D, m = sq_distances(view.gram), self.keep(view.n)
        scores = krum_scores(D, self.f, self.neighbors, self.power)
        kept = krum_order(D, self.f, m) if self.iterated else np.argsort(scores, kind="stable")[:m].tolist()
        return mean_of(kept, view.n, scores)
