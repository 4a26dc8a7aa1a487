"""Rules that look for the direction in which the rows spread most, and leave out what makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.families import Mixing
from flwr_byzantine.rules.results import Combination, mean_of
from flwr_byzantine.rules.view import View


def centred_gram(G: Array, weights: Array) -> Array:
    """Gram matrix of the rows minus their mean under `weights`, which sum to 1."""
    to_mean = G @ weights
    return np.asanyarray(G - to_mean[:, None] - to_mean[None, :] + weights @ to_mean)


def projections(G: Array, weights: Array) -> tuple[float, Array]:
    """Top eigenvalue of the weighted covariance, and each row's squared projection on its eigenvector."""
    K, root = centred_gram(G, weights), np.sqrt(weights)
    values, vectors = np.linalg.eigh(root[:, None] * K * root[None, :])
    top = float(values[-1])
    if top <= 0:
        return 0.0, np.zeros(len(G))
    return top, np.asanyarray((K @ (root * vectors[:, -1])) ** 2 / top)


@dataclass(frozen=True)
class CAF(Mixing):
    """Covariance-bound-agnostic filter: reweight against the top direction, keep the mean of least top eigenvalue.

    Each row starts at weight 1. While the weights sum to more than n - 2f, the row's weight falls by its squared
    projection on the top eigenvector of the weighted covariance, relative to the largest such projection. Each
    step takes at least one row to 0, so there are n steps at most whatever the values.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1.

    Source: Allouah, Guerraoui, Stephan, ICML 2025. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> CAF(f=1)(np.array([[1.0], [1.0], [1.0], [90.0]])).tolist()
        [1.0]
    """

    f: int = param(ge=0)
    cost: ClassVar[str] = "n²d + n⁴"
    reference: ClassVar[str] = "Allouah, Guerraoui, Stephan, ICML 2025"
    sees_all: ClassVar[bool] = True

    def kappa(self, n: int) -> float | None:
        """7r + 6r², r = f / (n - 2f).

        Derived here, h = n - f and v the top eigenvalue of the honest covariance, which is at most σ². Say a step is good while
        the honest rows have lost no more weight, x, than the Byzantine ones: then they weigh h - x, those f - x at most. While λ,
        the top eigenvalue of a good step, exceeds 2h (h - x) / ((n - 2f) (n - 2x)) v, less than half of what it takes away is
        honest, and the next step is good. So before the weights fall to n - 2f there is a good step with λ no more than that.
        The step chosen has no larger a λ and weighs more than n - 2f. If it is later, both its rows and the honest ones of the good
        step are parts of the latter's weights, so that their means differ by √(6h (f - x)) / (n - 2f) √v at most; if it is
        earlier, it is good itself, and nearer. The honest part is within √(x / (h - x)) √v of the honest mean. By Cauchy-Schwarz
        the sum squared is at most r (1 + 6h / (n - 2f)) v.
        """
        r = self.f / max(n - 2 * self.f, 1)
        return r * (7 + 6 * r) if n >= self.min_n() else None

    def mix(self, view: View) -> Combination:
        """The normalised weights of the best step."""
        weights = np.ones(view.n)
        best, answer = np.inf, weights / view.n
        for _ in range(view.n):
            shares = weights / weights.sum()
            top, tau = projections(view.gram, shares)
            if top < best:
                best, answer = top, shares
            peak = tau[weights > 0].max()
            if top == 0 or peak == 0:
                break
            weights = np.where(tau >= peak, 0.0, weights * np.maximum(1 - tau / peak, 0.0))
            if weights.sum() <= view.n - 2 * self.f:
                break
        return Combination(answer[None, :])


@dataclass(frozen=True)
class DnC(Mixing):
    """Divide and conquer: leave out the rows with the largest projections on the top direction of sampled coordinates.

    Convention: the mean of the rows that every draw keeps; where none is left, the row of least projection in the last draw.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1.
        niters: how often to draw coordinates; only rows kept every time are averaged.
        c: filtering fraction; c f rows are left out each time.
        b: how many coordinates to draw (all where d is smaller).
        seed: of the draws.

    Source: Shejwalkar, Houmansadr, NDSS 2021.

    Example:
        >>> import numpy as np
        >>> DnC(f=1).aggregate(np.array([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [90.0, 90.0]])).selected
        (0, 1, 2)
    """

    f: int = param(ge=0)
    niters: int = param(1, ge=1)
    c: float = param(1.0, kind=float, ge=0)
    b: int = param(10_000, ge=1)
    seed: int = param(0, ge=0)
    uses_gram: ClassVar[bool] = False
    reference: ClassVar[str] = "Shejwalkar, Houmansadr, NDSS 2021"

    def mix(self, view: View) -> Combination:
        """The mean of the rows that every draw keeps."""
        good, scores = np.ones(view.n, bool), np.zeros(view.n)
        d = view.updates.d
        left = max(view.n - int(self.c * self.f), 1)
        for _ in range(self.niters):
            coordinates = np.sort(view.rng.choice(d, min(self.b, d), replace=False))
            rows = view.at(coordinates)
            rows -= np.median(rows, axis=0)  # any common shift: keeps the Gram matrix accurate
            scores = projections(rows @ rows.T, np.full(view.n, 1 / view.n))[1]
            kept = np.argsort(scores, kind="stable")[:left]
            good &= np.isin(np.arange(view.n), kept)
        chosen = np.flatnonzero(good).tolist() or [int(np.argmin(scores))]
        return mean_of(chosen, view.n, scores)
