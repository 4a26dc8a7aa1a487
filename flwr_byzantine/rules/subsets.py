"""Rules that search all subsets of n - f rows for the tightest one, by diameter or by spread, and average it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.families import Mixing
from flwr_byzantine.rules.results import Combination, mean_of
from flwr_byzantine.rules.view import View


@dataclass(frozen=True)
class MDA(Mixing):
    """Minimum-diameter averaging: the mean of the n - f rows whose largest distance between two of them is smallest.

    Exact without enumeration: n - f rows have a diameter of t at most if and only if the pairs farther apart
    than t can all be covered by f rows (a vertex cover). The least t is found by bisection over the pairwise
    distances, each cover by branching, in O(1.47^f) steps whatever the values. Several subsets often share the
    least diameter (up to a share of 1e-9 of its square): the lexicographically first is taken, as enumeration would, so
    that the order of the rows matters.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1 and f <= 30.

    Source: El Mhamdi, Guerraoui, Guirguis, Hoang, Rouault, PODC 2020. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> MDA(f=1)(np.array([[0.0], [1.0], [90.0]])).tolist()
        [0.5]
    """

    f: int = param(ge=0)
    symmetric: ClassVar[bool] = False
    cost: ClassVar[str] = "n²d + 1.47^f n²"
    reference: ClassVar[str] = "El Mhamdi, Guerraoui, Guirguis, Hoang, Rouault, PODC 2020"
    ties_by_position: ClassVar[bool] = True
    sees_all: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse an f for which branching would take too long."""
        super().__post_init__()
        if self.f > 30:
            raise InvalidParameter(
                f"MDA: f must be at most 30, got {self.f}: the exact search takes about 1.47^f steps; use SMEA's relatives CAF or NNM"
            )

    def kappa(self, n: int) -> float | None:
        """(√r + f √(2 / h))², r = f / (n - 2f), h = n - f.

        Derived here: with T the honest rows kept, ‖x̄_T - x̄_H‖² <= r σ², and the at most f others are within the diameter
        of T, which is at most that of the honest rows, √(2h) σ.
        """
        h = n - self.f
        return (math.sqrt(self.f / (n - 2 * self.f)) + self.f * math.sqrt(2 / h)) ** 2 if n >= self.min_n() else None

    def mix(self, view: View) -> Combination:
        """1/(n - f) on the tightest subset."""
        D = sq_distances(view.gram)
        diameters = np.unique(D[np.triu_indices_from(D, 1)])
        low, high = 0, max(len(diameters) - 1, 0)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if cover(diameters[middle] < D, self.f) is not None else (middle + 1, high)
        limit = diameters[low] if len(diameters) else 0.0
        return mean_of(_first_clique(limit * (1 + 1e-9) < D, view.n - self.f), view.n)


def cover(far: Array, budget: int) -> list[int] | None:
    """At most `budget` vertices that touch every edge of the graph `far` (boolean, symmetric), or None."""
    if not far.any():
        return []
    degrees = far.sum(axis=1)
    v = int(np.argmax(degrees))
    if budget <= 0 or degrees.sum() > 2 * budget * degrees[v]:
        return None
    for chosen in ([v], np.flatnonzero(far[v]).tolist()):
        rest = far.copy()
        rest[chosen] = rest[:, chosen] = False
        if len(chosen) <= budget and (found := cover(rest, budget - len(chosen))) is not None:
            return [*chosen, *found]
        if degrees[v] == 1:  # the neighbour of a leaf is always as good
            break
    return None


def _first_clique(far: Array, size: int) -> list[int]:
    """The lexicographically first `size` vertices without an edge of `far` among them; one exists."""
    n, chosen = len(far), list[int]()
    banned = np.zeros(n, bool)
    for i in range(n):
        if banned[i] or len(chosen) == size:
            continue
        without = banned | far[i]
        free = np.flatnonzero(~without & (np.arange(n) > i))
        need = size - len(chosen) - 1
        if len(free) >= need and cover(far[np.ix_(free, free)], len(free) - need) is not None:
            chosen.append(i)
            banned = without
    return chosen


@dataclass(frozen=True)
class SMEA(Mixing):
    """Smallest maximum eigenvalue averaging: the mean of the n - f rows whose covariance has the least top eigenvalue.

    Exact by branch and bound: adding a row never lowers the top eigenvalue of the scatter matrix, so a partial
    subset that already exceeds the best one is not extended; a greedy subset is the first to beat. Ties (eigenvalues
    equal up to a share of 1e-9) go to the lexicographically first subset. ByzFL estimates each eigenvalue by one power
    iteration from a random vector.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1 and at most 50,000 subsets C(n, f).

    Source: Allouah, Guerraoui, Gupta, Pinot, Stephan, ICML 2023. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> SMEA(f=1)(np.array([[0.0], [1.0], [90.0]])).tolist()
        [0.5]
    """

    f: int = param(ge=0)
    cost: ClassVar[str] = "n²d + C(n, f) n³"
    reference: ClassVar[str] = "Allouah, Guerraoui, Gupta, Pinot, Stephan, ICML 2023"
    limit: ClassVar[int] = 50_000
    kappa_exact: ClassVar[bool] = True
    ties_by_position: ClassVar[bool] = True
    sees_all: ClassVar[bool] = True

    def kappa(self, n: int) -> float | None:
        """4 f / (n - 2f), which is four times what any rule must have: exact.

        Derived here: a subset T of S, |T| >= n - 2f, has ‖x̄_T - x̄_S‖² <= f / (n - 2f) λ_S, λ_S the top eigenvalue of S's
        covariance. That holds for the honest rows and, with no larger an eigenvalue, for the rows kept; and λ <= σ². Reached by
        f rows at -1, n - 2f at 0 and f at 1, of which those at -1, or at 1, are Byzantine.
        """
        return 4 * self.f / (n - 2 * self.f) if n >= self.min_n() and math.comb(n, self.f) <= self.limit else None

    def check(self, n: int) -> None:
        """Refuse more subsets than `limit`."""
        super().check(n)
        if math.comb(n, self.f) > self.limit:
            raise InvalidParameter(
                f"SMEA(f={self.f}) at n = {n} has {math.comb(n, self.f):,} subsets to search, "
                f"the limit is {self.limit:,}; use CAF, its fast relative"
            )

    def mix(self, view: View) -> Combination:
        """1/(n - f) on the subset found."""
        return mean_of(_Search(view.gram, self.f).best_subset(), view.n)


class _Search:
    """Depth-first search over subsets in lexicographic order, pruned by the scatter's top eigenvalue."""

    def __init__(self, G: Array, f: int) -> None:
        self.G, self.n, self.f = G, len(G), f
        self.subset = self._greedy()  # stays where rounding leaves none below the bound
        greedy = self._of(self.subset)
        self.rounding = 1e-14 * len(greedy) * float(np.diag(greedy).max())
        value = top_scatter(greedy)
        self.bound = value + self._tie(value)

    def best_subset(self) -> list[int]:
        self._extend([], 0)
        return self.subset

    def _tie(self, value: float) -> float:
        """Two eigenvalues this near each other count as equal."""
        return 1e-9 * abs(value) + self.rounding

    def _of(self, rows: list[int]) -> Array:
        return np.asanyarray(self.G[np.ix_(rows, rows)])

    def _greedy(self) -> list[int]:
        """Rows left after dropping, f times, the one without which the top eigenvalue is least."""
        left = list(range(self.n))
        for _ in range(self.f):
            without = [[row for row in left if row != gone] for gone in left]
            left = min(without, key=lambda rows: top_scatter(self._of(rows)))
        return left

    def _extend(self, chosen: list[int], start: int) -> None:
        value = top_scatter(self._of(chosen)) if len(chosen) > 1 else 0.0
        if value > self.bound:
            return
        if len(chosen) == self.n - self.f:
            self.bound, self.subset = value - self._tie(value), chosen
            return
        for i in range(start, len(chosen) + self.f + 1):
            self._extend([*chosen, i], i + 1)


def top_scatter(G: Array) -> float:
    """Largest eigenvalue of the scatter Σ (x - x̄)(x - x̄)ᵀ of rows with Gram matrix G."""
    centred = G - G.mean(axis=0) - G.mean(axis=1)[:, None] + G.mean()
    return float(np.linalg.eigvalsh(centred)[-1])
