"""Centered clipping, and three pre-aggregations in one pass: clipping to a fixed and to an adaptive radius, and bucketing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.families import Mixing, PreAggregation
from flwr_byzantine.rules.results import Combination
from flwr_byzantine.rules.view import View

KARIMIREDDY = "Karimireddy, He, Jaggi"


def clip_factors(norms: Array, radius: float) -> Array:
    """(n,) factors that bring each norm down to `radius` at most."""
    return np.asanyarray(radius / np.maximum(norms, radius)) if radius > 0 else np.where(norms > 0, 0.0, 1.0)


@dataclass(frozen=True)
class CenteredClipping(Mixing):
    """The last aggregate v moved by the mean of the clipped differences: v + (1/n) Σ (x_i - v) min(1, τ / ‖x_i - v‖).

    Convention: one iteration a round, as in the paper's experiments; ByzFL's radius is 100 by default.

    State: the last aggregate, as a delta to the broadcast model (`rule.step`; `rule(X)` starts from zero).

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1. Only this condition uses it, the rule does not.
        tau: clipping radius τ, in the units of the updates (the paper's experiments: 10 / (1 - β)).
        max_iter: iterations a round (the paper's l); more than one cost n²d.

    Source: Karimireddy, He, Jaggi, ICML 2021.

    Example:
        >>> import numpy as np
        >>> CenteredClipping(tau=1.0)(np.array([[0.5], [0.5], [0.5], [90.0]])).tolist()
        [0.625]
    """

    f: int = param(0, ge=0)
    tau: float = param(10.0, kind=float, gt=0)
    max_iter: int = param(1, ge=1)
    equivariant: ClassVar[bool] = False
    anchors: ClassVar[tuple[str, ...]] = ("previous",)
    scales: ClassVar[bool] = False
    stateful: ClassVar[bool] = True
    cost: ClassVar[str] = "nd"
    uses_gram: ClassVar[bool] = False
    distances_from: ClassVar[str] = "previous"
    sees_all: ClassVar[bool] = True
    reference: ClassVar[str] = f"{KARIMIREDDY}, ICML 2021"

    def mix(self, view: View) -> Combination:
        """Weights on the n rows and on v."""
        n = view.n
        weights = np.zeros(n + view.anchors)
        weights[n] = 1.0  # the anchor is the first row below the n
        for iteration in range(self.max_iter):
            distances = self._distances(view.gram, weights)[:n] if iteration else view.distances_to(n)
            steps = clip_factors(distances, self.tau / view.unit) / n
            weights *= 1.0 - steps.sum()
            weights[:n] += steps
        return Combination(weights[None, :])

    @staticmethod
    def _distances(G: Array, weights: Array) -> Array:
        squared = np.diag(G) - 2 * G @ weights + weights @ G @ weights
        return np.asanyarray(np.sqrt(np.maximum(squared, 0.0)))


@dataclass(frozen=True)
class Clipping(PreAggregation):
    """Each row scaled down to norm `radius` at most. A fixed radius destroys (f, κ)-robustness; see ARC. Needs n >= 1.

    Convention: norms of the deltas to the broadcast model; rows within the radius stay as they are.

    Args:
        radius: largest norm, in the units of the updates (ByzFL's c = 2.0).

    Source: Sun, Kairouz, Suresh, McMahan, arXiv 1911.07963, 2019.

    Example:
        >>> from flwr_byzantine import rules
        >>> rules.chain(Clipping(radius=1.0), rules.Median(f=1))([[1.0, 0.0], [9.0, 0.0], [9.0, 0.0]]).tolist()
        [1.0, 0.0]
    """

    radius: float = param(2.0, kind=float, gt=0)
    equivariant: ClassVar[bool] = False
    robust: ClassVar[bool] = False
    scales: ClassVar[bool] = False
    cost: ClassVar[str] = "nd"
    uses_gram: ClassVar[bool] = False
    distances_from: ClassVar[str] = "origin"
    sees_all: ClassVar[bool] = True
    reference: ClassVar[str] = "Sun, Kairouz, Suresh, McMahan, 2019 (arXiv 1911.07963)"

    def mix(self, view: View) -> Combination:
        """A diagonal matrix."""
        return Combination(np.diag(clip_factors(view.norms, self.radius / view.unit)))


@dataclass(frozen=True)
class ARC(PreAggregation):
    """Adaptive robust clipping: the ⌊2f(n-f)/n⌋ rows of largest norm are scaled to the next largest norm.

    Convention: norms of the deltas to the broadcast model. A pre-aggregation: `chain` it with an aggregation rule.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1.

    Source: Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan, ICLR 2025.

    Example:
        >>> from flwr_byzantine import rules
        >>> rules.chain(ARC(f=1), rules.TrimmedMean(f=1))([[1.0], [1.0], [1.0], [90.0]]).tolist()
        [1.0]
    """

    f: int = param(ge=0)
    equivariant: ClassVar[bool] = False
    cost: ClassVar[str] = "nd"
    uses_gram: ClassVar[bool] = False
    distances_from: ClassVar[str] = "origin"
    sees_all: ClassVar[bool] = True
    reference: ClassVar[str] = "Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan, ICLR 2025"

    def compose_kappa(self, n: int, kappa: float) -> float | None:
        """κ + k / (h - k), h = n - f, k = ⌊2fh/n⌋ rows clipped: at most the published κ + 2f / (n - 2f).

        Clipping projects on a ball: where x_i becomes x_i - δ_i, honest rows come nearer to each other by at least
        ‖x_i - x_k‖² - ‖x_i - δ_i - x_k + δ_k‖² >= ‖δ_i - δ_k‖². So their variance falls by the variance of the δ_i at least, of
        which h - k are 0: by (h - k) / k b², b the length of the mean δ. And (√κ σ' + b)² <= (κ + k / (h - k)) σ² by Cauchy-Schwarz.
        """
        clipped = self._clipped(n)
        return kappa + clipped / (n - self.f - clipped)

    def _clipped(self, n: int) -> int:
        return 2 * self.f * (n - self.f) // n

    def mix(self, view: View) -> Combination:
        """A diagonal matrix."""
        norms = view.norms
        radius = np.sort(norms)[::-1][self._clipped(view.n)]
        return Combination(np.diag(clip_factors(norms, float(radius))))


@dataclass(frozen=True)
class Bucketing(PreAggregation):
    """The means of random buckets of s rows: ⌈n/s⌉ rows come out. Needs n >= 1.

    Convention: the last bucket may be short. f Byzantine rows spoil up to f buckets, so the rule behind it must withstand
    the same f among fewer rows.

    Args:
        s: bucket size; 1 leaves the rows as they are.
        seed: of the permutation, drawn anew each round.

    Source: Karimireddy, He, Jaggi, ICLR 2022.

    Example:
        >>> from flwr_byzantine import rules
        >>> rules.chain(Bucketing(s=2), rules.Median(f=1))([[1.0]] * 5).tolist()
        [1.0]
    """

    s: int = param(2, ge=1)
    seed: int = param(0, ge=0)
    symmetric: ClassVar[bool] = False
    cost: ClassVar[str] = "nd"
    uses_gram: ClassVar[bool] = False
    reference: ClassVar[str] = f"{KARIMIREDDY}, ICLR 2022"

    def rows(self, n: int) -> int:
        """⌈n/s⌉."""
        return -(-n // self.s)

    def mix(self, view: View) -> Combination:
        """1/s on the members of each bucket."""
        M = np.zeros((self.rows(view.n), view.n))
        M[np.arange(view.n) // self.s, view.rng.permutation(view.n)] = 1.0
        return Combination(M / M.sum(axis=1, keepdims=True))
