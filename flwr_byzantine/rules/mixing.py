"""Mean, geometric median and nearest-neighbour mixing: weights that come from the distances between the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays import compiled
from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.ordered import Ordered
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.families import Mixing, PreAggregation
from flwr_byzantine.rules.results import Combination
from flwr_byzantine.rules.view import View

FAR = 1e4  # median distances: beyond, the geometric median's sums of distances are no longer compared, since attackers own them


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
    kappa_exact: ClassVar[bool] = True
    cost: ClassVar[str] = "nd"
    uses_gram: ClassVar[bool] = False
    reference: ClassVar[str] = "McMahan, Moore, Ramage, Hampson, Agüera y Arcas, AISTATS 2017"

    def kappa(self, n: int) -> float | None:
        """κ = 0, since it withstands no Byzantine row: f is 0."""
        return 0.0 if n >= self.min_n() else None

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
        tol: stop when the sum of distances falls by a smaller share (of 10,000 median distances, where it is longer); 0
            runs all of `max_iter`.
        start: "medoid", the row with the least sum of distances; "mean"; or "origin" (the broadcast model).
        smoothing: "relative"; or "absolute", `nu` in the units of the updates as in RFA and ByzFL.

    Source: Chen, Su, Xu, POMACS 2017; Pillutla, Kakade, Harchaoui, TSP 2022. κ: see `kappa`.

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
        """κ = n / (n - 2f) for the median itself: none where the iterations may end before they are there.

        Derived here (published: 4 (1 + f / (n - 2f))²). With e the direction and D the length of the median less the honest mean,
        ρ_i D the distance of row i to the median and c_i its cosine with e, optimality says Σ c_i <= f over the honest rows.
        For a = 1 + f/h each c_i >= 2 a c_i ρ_i - (a ρ_i)² / 2 - 1, since the difference is (a ρ_i / √2 - √2 c_i)² + 1 + c_i - 2 c_i²
        (for c_i < 0 every term is positive as it stands). As Σ c_i ρ_i = h and Σ ρ_i² = h (1 + σ²/D²), the sum gives
        D² <= (h + f) / (h - f) σ². For even n reached by n/2 - f honest rows and all Byzantine ones at one of two points.
        """
        return n / (n - 2 * self.f) if n >= self.min_n() and self._converges() and self._steps(n) <= self.max_iter else None

    def _steps(self, n: int) -> float:
        """Iterations that undo what f colluders do to the first point, each a factor of (n - f) / f.

        They sit on a medoid, which is left from `nu` on; or drag the mean away, by 1e75 at most (`arrays.geometry.HUGE`).
        """
        reach = 100 / self.nu if self.start == "medoid" else 1e80
        return math.log(reach) / math.log((n - self.f) / self.f) if self.f else 1

    def _converges(self) -> bool:
        """Whether the iterations are those of the median, whose first gains, of about `nu`, do not stop them."""
        fine = self.smoothing == "relative" and self.nu <= 1e-4 and self.tol <= 1e-4 * self.nu
        return fine and self.start != "origin" and self.max_iter >= 100

    def mix(self, view: View) -> Combination:
        """Weights proportional to the inverse distances at the fixed point."""
        G = view.gram
        distances = np.sqrt(sq_distances(G))
        middle = medoid(distances)
        floor = self.nu * (float(np.median(distances[middle])) if self.smoothing == "relative" else 1.0 / view.unit)
        if floor == 0.0:  # more than half of the rows are equal: that row is the median
            return Combination(np.eye(view.n)[[middle]], distances[middle])
        centre = int(np.argmin(np.diag(G))) if self.start == "origin" else middle  # what is near it is computed best
        K = G - G[centre] - G[:, [centre]] + G[centre, centre]
        starts = {
            "medoid": (np.diag(K), np.zeros(len(K))),
            "mean": squares_to(K, np.full(len(K), 1.0 / len(K))),
            "origin": (np.diag(G), 2.0 * G[centre] - G[centre, centre]),
        }
        weights = self._weiszfeld(K, *starts[self.start], floor)
        return Combination(weights[None, :], np.sqrt(np.maximum(squares_to(K, weights)[0], 0.0)))

    def _weiszfeld(self, K: Array, squares: Array, change: Array, floor: float) -> Array:
        """Weights of the rows at the fixed point.

        What hostile rows add to the sum of distances may be so much that what a step gains is lost in its rounding, so that
        gains are summed of each row's own, and compared with a length that no minority of rows can stretch.

        Args:
            K: (n, n) inner products of the rows less one of them.
            squares: (n,) squared distances of the rows to the start.
            change: (n,) these less the ones to that row.
            floor: least value of a distance.
        """
        if compiled.AVAILABLE and not isinstance(K, Ordered):
            return compiled.weiszfeld(K, squares, change, floor, self.max_iter, self.tol, FAR)
        weights, sum_of_distances = squares, _SumOfDistances(np.diag(K), floor)
        apart, total = sum_of_distances(squares, change)
        for _ in range(self.max_iter):
            weights = 1.0 / apart
            weights /= weights.sum()
            previous, (apart, total) = total, sum_of_distances(*squares_to(K, weights))
            gain = previous - total
            if self.tol > 0 and gain <= self.tol * float(apart.sum()) and gain <= self.tol * FAR * float(np.median(apart)):
                break
        return weights


def medoid(distances: Array) -> int:
    """The row with the least sum of distances, none of which counts for more than 10,000 typical ones: sums of huge ones are all alike."""
    medians = np.median(distances, axis=1)
    longest = FAR * float(medians.min())
    return int(np.argmin(np.minimum(distances, longest).sum(axis=1) if longest > 0 else medians))


def squares_to(K: Array, weights: Array) -> tuple[Array, Array]:
    """(n,) squared distances of rows with inner products K to the combination `weights` of them; and these less the squared norms."""
    to_point = K @ weights
    change = weights @ to_point - 2.0 * to_point  # accurate for far rows of little weight too
    return np.diag(K) + change, change


class _SumOfDistances:
    """Distances of the rows to a point, `floor` at least, and their sum less that of the rows' norms.

    Args:
        norms: (n,) squared norms of the rows.
        floor: least value of a distance.
    """

    def __init__(self, norms: Array, floor: float) -> None:
        self.least = floor**2
        self.lifted = np.maximum(self.least - norms, 0.0)
        self.lengths = np.sqrt(np.maximum(norms, self.least))

    def __call__(self, squares: Array, change: Array) -> tuple[Array, float]:
        """Both, from the (n,) squared distances and these less the squared norms."""
        gains = change + np.maximum(self.least - squares, 0.0) - self.lifted
        apart = np.sqrt(np.maximum(squares, self.least))
        return apart, float((gains / (apart + self.lengths)).sum())


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
        """4f / (n - f) (1 + κ); no F with a κ has less than 4f / (n - 2f) then, which the trimmed mean reaches.

        Derived here (published: 8f / (n - f) (1 + κ)). Among the h = n - f neighbours of an honest row i, a set B of Byzantine rows
        has taken the place of a set M of as many honest ones. So row i becomes y_i with, by Jensen, h² ‖y_i - x̄‖² at most the sum
        of ‖x_j - x_k‖² over j in B and k in M. Look at one j and a pair of honest rows i, k. Where j has put k out at i,
        ‖x_j - x_i‖ <= ‖x_i - x_k‖, so ‖x_j - x_k‖² <= 4 ‖x_i - x_k‖²; where it has put i out at k too, both terms together are at
        most 2 ‖x_i - x_k‖². The sum over the f rows j and all pairs, of which Σ ‖x_i - x_k‖² = h² σ², gives
        1/h Σ ‖y_i - x̄‖² <= 4f/h σ². That is variance and squared bias of the mixed rows; Cauchy-Schwarz brings in the 1 + κ.
        No less: f rows at -1, n - 2f at 0, f at 1 become n - f equal rows and f others, and those at -1 or those at 1 may be honest.
        """
        return 4 * self.f / (n - self.f) * (1 + kappa)

    def mix(self, view: View) -> Combination:
        """1/(n - f) on each row's neighbours."""
        keep = view.n - self.f
        D = sq_distances(view.gram)[: view.n, : view.n]  # an anchor is nobody's neighbour
        np.fill_diagonal(D, -1.0)  # itself first, also among equal rows
        nearest = np.argsort(D, axis=1, kind="stable")[:, :keep]
        M = np.zeros((view.n, view.n))
        np.put_along_axis(M, nearest, 1.0 / keep, axis=1)
        return Combination(M)
