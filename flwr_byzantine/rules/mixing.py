"""Mean, geometric median and nearest-neighbour mixing: weights that come from the distances between the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.base import Mixing, PreAggregation
from flwr_byzantine.rules.results import Combination
from flwr_byzantine.rules.view import View


@dataclass(frozen=True)
class Mean(Mixing):
    """The unweighted mean: FedAvg's rule, not robust (one Byzantine row steers it anywhere). Needs n >= 1.

    Convention: every row counts the same; Flower's FedAvg weighs by num-examples.

    Source: McMahan, Moore, Ramage, Hampson, Agüera y Arcas, AISTATS 2017. That it is not robust: Blanchard, El Mhamdi,
    Guerraoui, Stainer, NeurIPS 2017, Lemma 1.

    Example:
        >>> import numpy as np
        >>> Mean()(np.array([[1.0], [3.0]])).tolist()
        [2.0]
    """

    robust: ClassVar[bool] = False
    cost: ClassVar[str] = "nd"
    reference: ClassVar[str] = "McMahan, Moore, Ramage, Hampson, Agüera y Arcas, AISTATS 2017"

    def kappa(self, n: int) -> float | None:
        """κ = 0, since it withstands no Byzantine row: f is 0."""
        return 0.0

    def mix(self, view: View) -> Combination:
        """1/n on every row."""
        return Combination(np.full((1, view.n), 1.0 / view.n))


@dataclass(frozen=True)
class GeometricMedian(Mixing):
    """The point with the least sum of distances to the rows, by smoothed Weiszfeld iterations in Gram space.

    Convention: iterated to convergence from the row with the least sum of distances; a distance counts as `nu` times the
    median distance to that row at least (the smoothing that keeps Weiszfeld defined at data points). ByzFL stops short:
    start="origin", nu=0.1, smoothing="absolute", max_iter=3, tol=0 gives its numbers.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1. This condition and `kappa` use it, the median does not.
        nu: smoothing, relative to the median distance.
        max_iter: cap on iterations (RFA's R, ByzFL's T).
        tol: stop when the sum of distances falls by a smaller share; 0 runs all of `max_iter`.
        start: "medoid", the row with the least sum of distances; "mean"; or "origin" (the broadcast model).
        smoothing: "relative"; or "absolute", `nu` in the units of the updates as in RFA and ByzFL.

    Source: Chen, Su, Xu, POMACS 2017; Pillutla, Kakade, Harchaoui, TSP 2022. κ: Allouah et al., AISTATS 2023.

    Example:
        >>> import numpy as np
        >>> GeometricMedian(f=1)(np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 0.0], [1.0, 50.0]])).round(3).tolist()
        [1.0, 0.0]
    """

    f: int = param(0, ge=0)
    nu: float = param(1e-6, kind=float, gt=0)
    max_iter: int = param(1000, ge=1)
    tol: float = param(1e-12, kind=float, ge=0)
    start: str = param("medoid", kind=str, choices=("medoid", "mean", "origin"))
    smoothing: str = param("relative", kind=str, choices=("relative", "absolute"))
    reference: ClassVar[str] = "Chen, Su, Xu, POMACS 2017; Pillutla, Kakade, Harchaoui, TSP 2022"
    sees_all: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Declare what these parameters change: cut short, from the origin or smoothed by a fixed length, it is not the median."""
        super().__post_init__()
        object.__setattr__(self, "equivariant", self.start != "origin")
        object.__setattr__(self, "scales", self.smoothing == "relative")
        object.__setattr__(self, "robust", self._converges())

    def kappa(self, n: int) -> float | None:
        """4 (1 + f / (n - 2f))² for the median itself: none where the iterations are cut short or the smoothing is coarse."""
        return 4 * (1 + self.f / (n - 2 * self.f)) ** 2 if self._converges() and n >= self.min_n() else None

    def _converges(self) -> bool:
        return self.smoothing == "relative" and self.nu <= 1e-4 and self.tol <= 1e-9 and self.max_iter >= 100

    def mix(self, view: View) -> Combination:
        """Weights proportional to the inverse distances at the fixed point."""
        D = sq_distances(view.gram)
        distances = np.sqrt(D)
        medoid = int(np.argmin(distances.sum(axis=1)))
        floor = self.nu * (float(np.median(distances[medoid])) if self.smoothing == "relative" else 1.0)
        if floor == 0.0:  # more than half of the rows are equal: that row is the median
            return Combination(np.eye(view.n)[[medoid]], distances[medoid])
        starts = {"medoid": distances[medoid], "mean": _distances_to(D, np.full(view.n, 1 / view.n)), "origin": view.norms}
        weights = self._weiszfeld(D, np.maximum(starts[self.start], floor), floor)
        return Combination(weights[None, :], _distances_to(D, weights))

    def _weiszfeld(self, D: Array, apart: Array, floor: float) -> Array:
        weights, total = apart, float(apart.sum())
        for _ in range(self.max_iter):
            weights = (1.0 / apart) / (1.0 / apart).sum()
            apart = np.maximum(_distances_to(D, weights), floor)
            previous, total = total, float(apart.sum())
            if self.tol > 0 and previous - total <= self.tol * total:
                break
        return weights


def _distances_to(D: Array, weights: Array) -> Array:
    """(n,) distances of the rows, given by their squared distances, to the combination `weights` of them, which sum to 1."""
    squared = D @ weights - 0.5 * weights @ D @ weights
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))


@dataclass(frozen=True)
class NNM(PreAggregation):
    """Nearest-neighbour mixing: each row becomes the mean of the n - f rows nearest to it, itself included.

    A pre-aggregation: `chain` it with an aggregation rule. Of rows equally near, the first ones are taken.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1.

    Source: Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, AISTATS 2023.

    Example:
        >>> import numpy as np
        >>> NNM(f=1).transform(np.array([[1.0], [3.0], [90.0]])).tolist()
        [[2.0], [2.0], [46.5]]
    """

    f: int = param(ge=0)
    reference: ClassVar[str] = "Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, AISTATS 2023"
    ties_by_position: ClassVar[bool] = True
    sees_all: ClassVar[bool] = True

    def compose_kappa(self, n: int, kappa: float) -> float | None:
        """8 f / (n - f) (1 + κ)."""
        return 8 * self.f / (n - self.f) * (1 + kappa)

    def mix(self, view: View) -> Combination:
        """1/(n - f) on each row's neighbours."""
        keep = view.n - self.f
        D = sq_distances(view.gram)[: view.n, : view.n]  # an anchor is nobody's neighbour
        np.fill_diagonal(D, -1.0)  # itself first, also among equal rows
        nearest = np.argsort(D, axis=1, kind="stable")[:, :keep]
        M = np.zeros((view.n, view.n))
        np.put_along_axis(M, nearest, 1.0 / keep, axis=1)
        return Combination(M)
