"""The geometric median with weights of the rows that are sought together with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.families import Mixing
from flwr_byzantine.rules.mixing import medoid, squares_to
from flwr_byzantine.rules.results import Combination
from flwr_byzantine.rules.view import View

STEPS = 1000  # Weiszfeld iterations for one set of weights, at most
STILL = 1e-12  # iterations end where no weight changes by more
FLOOR = 1e-6  # median distances: the least that a distance counts in an iteration, which keeps it defined at a row


@dataclass(frozen=True)
class AutoGM(Mixing):
    """Auto-weighted geometric median: point z and weights α (≥ 0, sum 1) that make Σ α_i ‖z - x_i‖ + λ/2 ‖α‖² small.

    By turns z for fixed α (Weiszfeld) and α for fixed z: α_i = max(η - ‖z - x_i‖, 0) / λ, η such that they sum to 1. Rows far beyond the
    others get no weight at all.

    Convention: λ in the units of the updates. The authors' code sorts by the rows' places in place of their distances when it seeks η,
    so that its α need not sum to 1.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1. Only this condition uses it, the rule does not.
        lam: λ: the larger, the more equal the weights, up to the geometric median; None takes n, as the authors' code.
        max_iter: turns, at most.

    Source: Li, Ngai, Voigt, IEEE Transactions on Industrial Informatics 2022.

    Example:
        >>> import numpy as np
        >>> AutoGM(f=1).aggregate(np.array([[0.0], [1.0], [2.0], [90.0]])).weights[3].tolist()
        0.0
    """

    f: int = param(0, ge=0)
    lam: float | None = param(None, kind=float, gt=0, optional=True)
    max_iter: int = param(100, ge=1)
    scales: ClassVar[bool] = False
    sees_all: ClassVar[bool] = True
    reference: ClassVar[str] = "Li, Ngai, Voigt, IEEE Transactions on Industrial Informatics 2022"

    def mix(self, view: View) -> Combination:
        """Weights of the point where the turns end."""
        G = view.gram[: view.n, : view.n]
        distances = np.sqrt(sq_distances(G))
        centre = medoid(distances)
        K = G - G[centre] - G[:, [centre]] + G[centre, centre]
        lam, floor = (view.n if self.lam is None else self.lam) / view.unit, FLOOR * float(np.median(distances[centre]))
        point = weights_at(K, np.full(view.n, 1.0 / view.n), floor)
        alpha = np.zeros(view.n)
        for _ in range(self.max_iter):
            previous, alpha = alpha, simplex(apart(K, point), lam)
            if np.abs(alpha - previous).max() <= STILL:
                break
            point = weights_at(K, alpha, floor)
        return Combination(point[None, :], apart(K, point))


def simplex(apart: Array, lam: float) -> Array:
    """(n,) weights α of least Σ α_i apart_i + λ/2 ‖α‖² that are not negative and sum to 1.

    Example:
        >>> simplex(np.array([0.0, 1.0, 5.0]), 2.0).tolist()
        [0.75, 0.25, 0.0]
    """
    farther = apart - apart.min()  # what all share changes nothing, and beside it lam may be lost in rounding
    ascending, lam = np.sort(farther), max(lam, np.finfo(float).tiny)
    eta = (np.cumsum(ascending) + lam) / np.arange(1, len(apart) + 1)
    weights = np.maximum(eta[np.flatnonzero(eta > ascending)[-1]] - farther, 0.0) / lam
    return np.asanyarray(weights / weights.sum())


def apart(K: Array, point: Array) -> Array:
    """(n,) distances of rows with inner products K to the combination `point` of them."""
    return np.asanyarray(np.sqrt(np.maximum(squares_to(K, point)[0], 0.0)))


def weights_at(K: Array, alpha: Array, floor: float) -> Array:
    """(n,) weights of the rows at the point z of least Σ α_i ‖z - x_i‖, by Weiszfeld's iterations.

    Args:
        K: (n, n) inner products of the rows less one of them, where the iterations begin.
        alpha: (n,) how much each row's distance counts.
        floor: the least value of a distance; 0 where more than half of the rows are that one.
    """
    if floor == 0.0:
        there = np.diag(K) == np.diag(K).min()
        return np.asanyarray(there / there.sum())
    point, distances = np.zeros(len(K)), np.sqrt(np.diag(K))
    for _ in range(STEPS):
        previous, point = point, alpha / np.maximum(distances, floor)
        point = point / point.sum()
        if np.abs(point - previous).max() <= STILL:
            break
        distances = apart(K, point)
    return np.asanyarray(point)
