"""Mean, geometric median and the pre-aggregations: rules whose weights come from the Gram matrix alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.kernels import Array
from flwr_byzantine.params import param
from flwr_byzantine.rules.base import Mixing, PreAggregation
from flwr_byzantine.rules.results import Mix
from flwr_byzantine.rules.view import View
from flwr_byzantine.updates import sq_distances


@dataclass(frozen=True)
class Mean(Mixing):
    """The unweighted mean: FedAvg's rule, not robust (one Byzantine row steers it anywhere).

    Source: the baseline of Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017 (Lemma 1).

    Example:
        >>> import numpy as np
        >>> Mean()(np.array([[1.0], [3.0]])).tolist()
        [2.0]
    """

    robust: ClassVar[bool] = False
    cost: ClassVar[str] = "nd"
    reference: ClassVar[str] = "McMahan, Moore, Ramage, Hampson, Agüera y Arcas, AISTATS 2017"

    def kappa(self, n: int) -> float | None:
        """0: exact where no row is Byzantine, which is all it is made for."""
        return 0.0

    def mix(self, view: View) -> Mix:
        """1/n on every row."""
        return Mix(np.full((1, view.n), 1.0 / view.n))


@dataclass(frozen=True)
class GeometricMedian(Mixing):
    """The point with the least sum of distances to the rows, by smoothed Weiszfeld iterations in Gram space.

    Convention: iteration starts at the row with the least sum of distances; a distance counts as `nu` times the
    median distance to that row at least (the smoothing that keeps Weiszfeld defined at data points).

    Args:
        f: number of Byzantine rows to withstand, for `min_n` and `kappa`; the median itself does not use it.
        nu: smoothing, relative to the median distance.
        max_iter: cap on iterations.
        tol: stop when the sum of distances falls by a smaller share.

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
    reference: ClassVar[str] = "Chen, Su, Xu, POMACS 2017; Pillutla, Kakade, Harchaoui, TSP 2022"

    def kappa(self, n: int) -> float | None:
        """4 (1 + f / (n - 2f))²."""
        return 4 * (1 + self.f / (n - 2 * self.f)) ** 2 if n >= self.min_n() else None

    def mix(self, view: View) -> Mix:
        """Weights proportional to the inverse distances at the fixed point."""
        D = sq_distances(view.gram)
        distances = np.sqrt(D)
        start = int(np.argmin(distances.sum(axis=1)))
        floor = self.nu * float(np.median(distances[start]))
        if floor == 0.0:  # more than half of the rows are equal: that row is the median
            return Mix(np.eye(view.n)[[start]], distances[start])
        weights = self._weiszfeld(D, np.eye(view.n)[start], floor)
        return Mix(weights[None, :], _distances_to(D, weights))

    def _weiszfeld(self, D: Array, weights: Array, floor: float) -> Array:
        total = np.inf
        for _ in range(self.max_iter):
            apart = np.maximum(_distances_to(D, weights), floor)
            previous, total = total, float(apart.sum())
            if previous - total <= self.tol * total:
                break
            weights = (1.0 / apart) / (1.0 / apart).sum()
        return weights


def _distances_to(D: Array, weights: Array) -> Array:
    """(n,) distances of the rows, given by their squared distances, to the combination `weights` of them, which sum to 1."""
    squared = D @ weights - 0.5 * weights @ D @ weights
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))


@dataclass(frozen=True)
class NNM(PreAggregation):
    """Nearest-neighbour mixing: each row becomes the mean of the n - f rows nearest to it, itself included.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1.

    Source: Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, AISTATS 2023.

    Example:
        >>> import numpy as np
        >>> chained = NNM(f=1).aggregate  # only pre-aggregates: use rules.chain(NNM(f=1), ...)
        >>> NNM(f=1).rows(5)
        5
    """

    f: int = param(ge=0)
    reference: ClassVar[str] = "Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, AISTATS 2023"

    def compose_kappa(self, n: int, kappa: float) -> float | None:
        """8 f / (n - f) (1 + κ)."""
        return 8 * self.f / (n - self.f) * (1 + kappa)

    def mix(self, view: View) -> Mix:
        """1/(n - f) on each row's neighbours."""
        keep = view.n - self.f
        D = sq_distances(view.gram)
        np.fill_diagonal(D, -1.0)  # itself first, also among equal rows
        nearest = np.argsort(D, axis=1, kind="stable")[:, :keep]
        M = np.zeros((view.n, view.n))
        np.put_along_axis(M, nearest, 1.0 / keep, axis=1)
        return Mix(M)
