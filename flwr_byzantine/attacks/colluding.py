"""Attacks by colluders who see all honest updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.geometry import sq_distances as from_gram
from flwr_byzantine.arrays.kernels import gram
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, ColludingAttack
from flwr_byzantine.declare.params import param

NDSS21 = "Shejwalkar, Houmansadr, NDSS 2021"


@dataclass(frozen=True)
class ALIE(ColludingAttack):
    """A little is enough: mean - z std per coordinate, so close that most honest updates are farther out.

    Convention: z from n and f as in the paper: s = ⌊n/2 + 1⌋ - f honest updates must be won over, z = Φ⁻¹((n-f-s)/(n-f));
    the standard deviation is over the honest updates (dividing by h); the sign is minus.

    Args:
        z: strength; None takes the paper's.

    Source: Baruch, Baruch, Goldberg, NeurIPS 2019.

    Example:
        >>> import numpy as np
        >>> ALIE(z=1.0)(np.array([[0.0], [2.0]]), 1).tolist()
        [[0.0]]
    """

    z: float | None = param(None, kind=float, optional=True)
    reference: ClassVar[str] = "Baruch, Baruch, Goldberg, NeurIPS 2019"

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """Mean minus z deviations."""
        return np.asarray(honest.mean(axis=0) - self.strength(len(honest) + f, f) * honest.std(axis=0))

    def strength(self, n: int, f: int) -> float:
        """Z for n clients of which f collude; 0 where their share leaves nobody to win over or everybody."""
        if self.z is not None:
            return self.z
        share = (n - f - (n // 2 + 1 - f)) / (n - f)
        return NormalDist().inv_cdf(share) if 0.5 < share < 1 else 0.0 if share <= 0.5 else 3.0


@dataclass(frozen=True)
class IPM(ColludingAttack):
    """Inner-product manipulation, "fall of empires": -epsilon times the honest mean.

    Args:
        epsilon: strength; small values turn robust rules around, values above (n-f)/f the mean.

    Source: Xie, Koyejo, Gupta, UAI 2019.

    Example:
        >>> import numpy as np
        >>> IPM(epsilon=0.5)(np.array([[2.0], [4.0]]), 1).tolist()
        [[-1.5]]
    """

    epsilon: float = param(0.5, kind=float, gt=0)
    reference: ClassVar[str] = "Xie, Koyejo, Gupta, UAI 2019"

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """Against the mean."""
        return np.asarray(-self.epsilon * honest.mean(axis=0))


@dataclass(frozen=True)
class PGA(ColludingAttack):
    """Projected gradient ascent in vector form: against the honest mean, with the largest norm that an honest update has.

    Convention: -τ mean / ‖mean‖. The paper's clients ascend the loss on their own data first and then scale to τ.

    Args:
        norm: τ, the "max" of the honest norms, or their "mean" (the paper's choice against norm bounding).

    Source: Shejwalkar, Houmansadr, Kairouz, Ramage, IEEE S&P 2022.

    Example:
        >>> import numpy as np
        >>> PGA()(np.array([[1.0], [3.0]]), 1).tolist()
        [[-3.0]]
    """

    norm: str = param("max", kind=str, choices=("max", "mean"))
    reference: ClassVar[str] = "Shejwalkar, Houmansadr, Kairouz, Ramage, IEEE S&P 2022"

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """The reversed mean at the bound."""
        norms = np.linalg.norm(honest, axis=1)
        return np.asarray((norms.max() if self.norm == "max" else norms.mean()) * perturbation(honest, "unit"))


def _largest(fits: Callable[[float], bool], steps: int = 60) -> float:
    """The largest γ with fits(γ), where fitting is monotone; 2^40 where there is no end below it."""
    low, high = 0.0, 1.0
    while fits(high) and high < 2.0**40:
        low, high = high, 2 * high
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def sq_distances(honest: Array, mean: Array) -> Array:
    """(h, h) squared distances between the rows, from inner products about their mean, at the cost of one matrix product."""
    return from_gram(gram(list(honest), mean, exact=True))


def _from_mean(honest: Array, mean: Array, p: Array) -> Callable[[float], Array]:
    """γ -> (h,) squared distances of mean + γ p to the rows: quadratic in γ, so that trying one costs nothing."""
    moved = honest - mean
    square, inner, along = np.einsum("ij,ij->i", moved, moved), np.einsum("ij,j->i", moved, p), (p**2).sum()
    return lambda g: np.asarray(square - 2 * g * inner + g * g * along)


def perturbation(honest: Array, kind: str) -> Array:
    """(d,) the perturbations of NDSS 2021: inverse unit vector, inverse standard deviation, inverse sign of the mean."""
    mean = honest.mean(axis=0)
    if kind == "unit":
        return np.asarray(-mean / max(float(np.linalg.norm(mean)), np.finfo(float).tiny))
    return np.asarray(-honest.std(axis=0) if kind == "std" else -np.sign(mean))


@dataclass(frozen=True)
class MinMax(ColludingAttack):
    """mean + γ p with the largest γ at which no honest update is farther away than two honest ones from each other.

    Args:
        direction: p, "unit", "std" or "sign".

    Source: Shejwalkar, Houmansadr, NDSS 2021.

    Example:
        >>> import numpy as np
        >>> MinMax(direction="sign")(np.array([[1.0], [3.0]]), 1).round(3).tolist()
        [[1.0]]
    """

    direction: str = param("std", kind=str, choices=("unit", "std", "sign"))
    reference: ClassVar[str] = NDSS21

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """By bisection on γ."""
        mean, p = honest.mean(axis=0), perturbation(honest, self.direction)
        distances, limit = _from_mean(honest, mean, p), sq_distances(honest, mean).max()
        return np.asarray(mean + _largest(lambda g: distances(g).max() <= limit) * p)


@dataclass(frozen=True)
class MinSum(ColludingAttack):
    """mean + γ p with the largest γ whose squared distances to the honest updates sum to no more than any honest one's.

    Args:
        direction: p, "unit", "std" or "sign".

    Source: Shejwalkar, Houmansadr, NDSS 2021.

    Example:
        >>> import numpy as np
        >>> MinSum(direction="sign")(np.array([[1.0], [3.0]]), 1).round(3).tolist()
        [[1.0]]
    """

    direction: str = param("std", kind=str, choices=("unit", "std", "sign"))
    reference: ClassVar[str] = NDSS21

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """By bisection on γ."""
        mean, p = honest.mean(axis=0), perturbation(honest, self.direction)
        distances, limit = _from_mean(honest, mean, p), sq_distances(honest, mean).sum(axis=1).max()
        return np.asarray(mean + _largest(lambda g: distances(g).sum() <= limit) * p)
