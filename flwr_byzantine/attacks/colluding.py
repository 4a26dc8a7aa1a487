"""Attacks by colluders who see all honest updates and need not know the server's rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.geometry import sq_distances as from_gram
from flwr_byzantine.arrays.kernels import gram
from flwr_byzantine.arrays.moments import moments
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, ColludingAttack
from flwr_byzantine.declare.params import param

NDSS21 = "Shejwalkar, Houmansadr, NDSS 2021"


@dataclass(frozen=True)
class ALIE(ColludingAttack):
    """A Little Is Enough: all send mean - z std in each coordinate, nearer to the mean than many honest updates are.

    Mean and standard deviation are those of the h honest updates (the squares divided by h). The paper's z is the largest
    for which a majority lies on the attackers' side: with s = ⌊n/2 + 1⌋ - f, z = Φ⁻¹((n-f-s)/(n-f)).

    For one attacker, and for two where n is even, that z is 0: the honest mean itself, which harms nobody. The attack then
    says so, once in a run (`idle`); pass a z, such as ByzFL's 1.5.

    Args:
        z: strength, any number but 0, which is the honest mean; None takes the form's. The paper's is at least 0, and 3 where
            s <= 0, that is, where the attackers are a majority.
        form: "paper", or "flanders", as the code of FLANDERS: z = Φ((n-f-s)/(n-f)) and the square roots of the deviations.

    Source: Baruch, Baruch, Goldberg, NeurIPS 2019; "flanders": Gabrielli, Tolomei, Belli, Miori, 2023, Flower's baseline.

    Example:
        >>> import numpy as np
        >>> ALIE(z=1.0)(np.array([[0.0], [2.0]]), 1).tolist()
        [[0.0]]
    """

    converts: ClassVar[bool] = True
    z: float | None = param(None, kind=float, optional=True)
    form: str = param("paper", kind=str, choices=("paper", "flanders"))
    sees_model: ClassVar[bool] = False
    reference: ClassVar[str] = "Baruch, Baruch, Goldberg, NeurIPS 2019"

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """Mean minus z standard deviations, or their roots."""
        mean, deviation = moments(honest)
        deviation = deviation if self.form == "paper" else np.sqrt(deviation)
        deviation *= -self.strength(len(honest) + f, f)  # in place: fresh memory costs more than the arithmetic
        return np.add(mean, deviation, out=mean)

    def idle(self, n: int, f: int, rounds: int | None = None) -> str:
        """Says where z is 0."""
        if self.strength(n, f) != 0:
            return ""
        whose = f"the paper's z is 0 at n = {n}, f = {f}" if self.z is None else "z is 0"
        return f"ALIE sends the honest mean itself, which harms nobody: {whose}; pass a strength, such as z=1.5"

    def strength(self, n: int, f: int) -> float:
        """The given z, or the form's for n clients of which f collude."""
        if self.z is not None:
            return self.z
        share = (n - f - (n // 2 + 1 - f)) / (n - f)
        if self.form == "flanders":
            return NormalDist().cdf(share)
        return NormalDist().inv_cdf(share) if 0.5 < share < 1 else 0.0 if share <= 0.5 else 3.0


@dataclass(frozen=True)
class IPM(ColludingAttack):
    """Inner-product manipulation ("Fall of Empires"): all send -epsilon times the honest mean.

    Args:
        epsilon: strength, above 0; small values make robust rules go the wrong way, values above (n-f)/f plain averaging.

    Source: Xie, Koyejo, Gupta, UAI 2019.

    Example:
        >>> import numpy as np
        >>> IPM(epsilon=0.5)(np.array([[2.0], [4.0]]), 1).tolist()
        [[-1.5]]
    """

    epsilon: float = param(0.5, kind=float, gt=0)
    sees_model: ClassVar[bool] = False
    reference: ClassVar[str] = "Xie, Koyejo, Gupta, UAI 2019"

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """-epsilon · mean."""
        return np.asarray(-self.epsilon * honest.mean(axis=0))


@dataclass(frozen=True)
class PGA(ColludingAttack):
    """Projected gradient ascent in vector form: all send -τ mean / ‖mean‖, with τ no larger than honest norms are.

    The paper's clients ascend the loss on their own data and then scale the update to norm τ; here the negative honest
    mean takes the place of that ascent.

    Args:
        norm: τ, the "max" of the norms of the honest updates, or their "mean" (the paper's choice against norm bounding).

    Source: Shejwalkar, Houmansadr, Kairouz, Ramage, IEEE S&P 2022.

    Example:
        >>> import numpy as np
        >>> PGA()(np.array([[1.0], [3.0]]), 1).tolist()
        [[-3.0]]
    """

    norm: str = param("max", kind=str, choices=("max", "mean"))
    sees_model: ClassVar[bool] = False
    reference: ClassVar[str] = "Shejwalkar, Houmansadr, Kairouz, Ramage, IEEE S&P 2022"

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """-τ mean / ‖mean‖."""
        norms = np.linalg.norm(honest, axis=1)
        return np.asarray((norms.max() if self.norm == "max" else norms.mean()) * perturbation(honest, "unit"))


def _largest(fits: Callable[[float], bool], steps: int = 60) -> float:
    """The largest γ >= 0 with fits(γ), by bisection, where fits is true up to some γ; about 2^40 where it is true up to there."""
    low, high = 0.0, 1.0
    while fits(high) and high < 2.0**40:
        low, high = high, 2 * high
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _flanders_search(fits: Callable[[float], bool], start: float = 5.0, smallest: float = 1e-5) -> float:
    """The last γ with fits(γ) of those that the code of FLANDERS tries, `start` + 1 where there is none."""
    found, gamma, step = start + 1, start, start / 4
    while step > smallest / 2 and abs(found - gamma) > smallest:
        found, gamma = (gamma, gamma + step) if fits(gamma) else (found, gamma - step)
        step /= 2
    return found


def sq_distances(honest: Array, mean: Array) -> Array:
    """(h, h) squared distances between the rows, from inner products about their mean, at the cost of one matrix product."""
    return from_gram(gram(list(honest), mean, exact=True))


def _from_mean(honest: Array, mean: Array, p: Array) -> Callable[[float], Array]:
    """γ -> (h,) squared distances of mean + γ p to the rows: quadratic in γ, so that trying one costs nothing."""
    centred = honest - mean
    square, inner, along = np.einsum("ij,ij->i", centred, centred), np.einsum("ij,j->i", centred, p), (p**2).sum()
    return lambda g: np.asarray(square - 2 * g * inner + g * g * along)


def perturbation(honest: Array, kind: str) -> Array:
    """(d,) a perturbation of NDSS 2021: minus the mean as a unit vector ("unit"), its sign ("sign"), or the deviation ("std")."""
    mean = honest.mean(axis=0)
    if kind == "unit":
        return np.asarray(-mean / max(float(np.linalg.norm(mean)), np.finfo(float).tiny))
    return np.asarray(-honest.std(axis=0) if kind == "std" else -np.sign(mean))


@dataclass(frozen=True)
class MinMax(ColludingAttack):
    """All send mean + γ p, as far out as the farthest two honest updates are from each other.

    γ is the largest number at which max_i ‖sent - x_i‖ <= max_ij ‖x_i - x_j‖, by bisection. The code of FLANDERS, form
    "flanders", goes up and down from γ = 5 by steps that halve from 1.25, so that it stays above 2.5, and takes 6 where
    nothing that it tries is within the bound: then what is sent lies farther out than any honest update.

    Args:
        direction: p: "unit", minus the mean as a unit vector; "std", minus the standard deviation of each coordinate;
            "sign", minus the sign of the mean.
        form: "paper" or "flanders".

    Source: Shejwalkar, Houmansadr, NDSS 2021; "flanders": Gabrielli, Tolomei, Belli, Miori, 2023, Flower's baseline.

    Example:
        >>> import numpy as np
        >>> MinMax(direction="sign")(np.array([[1.0], [3.0]]), 1).round(3).tolist()
        [[1.0]]
    """

    direction: str = param("std", kind=str, choices=("unit", "std", "sign"))
    form: str = param("paper", kind=str, choices=("paper", "flanders"))
    sees_model: ClassVar[bool] = False
    reference: ClassVar[str] = NDSS21

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """Mean + γ p."""
        mean, p = honest.mean(axis=0), perturbation(honest, self.direction)
        distances, limit = _from_mean(honest, mean, p), sq_distances(honest, mean).max()
        search = _largest if self.form == "paper" else _flanders_search
        return np.asarray(mean + search(lambda g: distances(g).max() <= limit) * p)


@dataclass(frozen=True)
class MinSum(ColludingAttack):
    """All send mean + γ p, as far from the honest updates altogether as the outermost honest one is.

    γ is the largest number at which Σ_i ‖sent - x_i‖² <= max_i Σ_j ‖x_i - x_j‖², by bisection.

    Args:
        direction: p, "unit", "std" or "sign", see `MinMax`.

    Source: Shejwalkar, Houmansadr, NDSS 2021.

    Example:
        >>> import numpy as np
        >>> MinSum(direction="sign")(np.array([[1.0], [3.0]]), 1).round(3).tolist()
        [[1.0]]
    """

    direction: str = param("std", kind=str, choices=("unit", "std", "sign"))
    sees_model: ClassVar[bool] = False
    reference: ClassVar[str] = NDSS21

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """Mean + γ p."""
        mean, p = honest.mean(axis=0), perturbation(honest, self.direction)
        distances, limit = _from_mean(honest, mean, p), sq_distances(honest, mean).sum(axis=1).max()
        return np.asarray(mean + _largest(lambda g: distances(g).sum() <= limit) * p)
