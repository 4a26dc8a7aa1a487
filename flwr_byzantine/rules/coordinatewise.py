"""Coordinate-wise rules: each says which window of the sorted values it averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flwr_byzantine.arrays.window import Window
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.base import Coordinatewise

YIN = "Yin, Chen, Ramchandran, Bartlett, ICML 2018"


def middle(n: int) -> tuple[int, int]:
    """The middle one or two of n ranks, as [low, high)."""
    return (n - 1) // 2, n // 2 + 1


@dataclass(frozen=True)
class Median(Coordinatewise):
    """The median of each coordinate: the mean of the two middle values where n is even.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1. This condition and `kappa` use it, the median does not.

    Source: Yin, Chen, Ramchandran, Bartlett, ICML 2018. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> Median(f=1)(np.array([[1.0, 5.0], [2.0, 6.0], [90.0, -90.0]])).tolist()
        [2.0, 5.0]
    """

    f: int = param(0, ge=0)
    reference: ClassVar[str] = YIN
    kappa_exact: ClassVar[bool] = True

    def kappa(self, n: int) -> float | None:
        """κ = a / (h - a), a = ⌊(n - 1) / 2⌋ and h = n - f: exact.

        Derived here: in a coordinate, the median lies between the means of the lowest and of the highest t = h - a honest
        values, each within √((h - t) / t) σ of their mean by the lemma of `Rule.kappa`; then the sum over coordinates. For odd
        n at least t honest values are on either side; for even n t - 1 are beyond the lower middle one and t beyond the upper.
        Reached by t honest rows and all Byzantine ones at one point, a honest rows at another.
        """
        a = (n - 1) // 2
        return a / (n - self.f - a) if n >= self.min_n() else None

    def window(self, n: int) -> Window:
        """The middle one or two ranks."""
        return Window(*middle(n))


@dataclass(frozen=True)
class TrimmedMean(Coordinatewise):
    """The mean of each coordinate without its f smallest and f largest values.

    Convention: f per side, a count (Flower's FedTrimmedAvg takes a fraction β; int(β n) can be below f).

    Args:
        f: number of Byzantine rows to withstand, and of values cut on each side; needs n >= 2f + 1.

    Source: Yin, Chen, Ramchandran, Bartlett, ICML 2018. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> TrimmedMean(f=1)(np.array([[1.0], [2.0], [4.0], [90.0]])).tolist()
        [3.0]
    """

    f: int = param(ge=0)
    reference: ClassVar[str] = YIN
    kappa_exact: ClassVar[bool] = True

    def kappa(self, n: int) -> float | None:
        """κ = f / (n - 2f): exact, and the least that any rule can have.

        Derived here: in a coordinate, the i-th of the values kept is at least the i-th lowest honest one and at most the i-th of
        the n - 2f highest, so their mean lies between the means of the lowest and of the highest t = n - 2f honest values, each
        within √((h - t) / t) σ of the mean of the h = n - f by the lemma of `Rule.kappa`; then the sum over coordinates.
        """
        return self.f / (n - 2 * self.f) if n >= self.min_n() else None

    def window(self, n: int) -> Window:
        """Ranks f to n - f - 1."""
        return Window(self.f, n - self.f)


@dataclass(frozen=True)
class NearestMedian(Coordinatewise):
    """The mean of the n - drop values nearest the median of each coordinate, ties as in `MeaMed` (Bulyan's second step)."""

    drop: int = param(0, ge=0)

    def min_n(self) -> int:
        """One row more than values are dropped."""
        return self.drop + 1

    def window(self, n: int) -> Window:
        """The n - drop values around the median."""
        return Window(*middle(n), length=n - self.drop)


def nearest_kappa(f: int, n: int, centre: float) -> float:
    """κ of the mean of the n - f values nearest a centre that has κ `centre`: 4f / (n - f) (1 + κ).

    Derived here: in a coordinate, each selected value of a Byzantine row has taken the place of an honest one that is no
    nearer to the centre m, so |y - x̄| <= 2 / (n - f) Σ |x_i - m| over f honest rows at most; then Cauchy-Schwarz.
    """
    return 4 * f / (n - f) * (1 + centre)


@dataclass(frozen=True)
class MeaMed(Coordinatewise):
    """Mean around the median: in each coordinate, the mean of the n - f values nearest the median.

    Convention: the farther end of the sorted values is dropped, f times; of two ends that are equally far the upper one goes.
    Equal values count one by one, so that colluders who send one row gain nothing by it. ByzFL takes of such values those of the
    rows that its partition puts first.

    Args:
        f: number of Byzantine rows to withstand, and of values left out; needs n >= 2f + 1.
        keep: how many values are averaged: "n-f", or "n-2f" as acfa-flower has it.

    Source: Xie, Koyejo, Gupta, arXiv 1802.10116, 2018.

    Example:
        >>> import numpy as np
        >>> MeaMed(f=1)(np.array([[1.0], [2.0], [3.0], [90.0]])).tolist()
        [2.0]
        >>> MeaMed(f=2)(np.array([[-1.0], [-1.0], [0.0], [0.0], [0.0], [1.0]])).tolist()  # 1 goes, then a -1
        [-0.25]
    """

    f: int = param(ge=0)
    keep: str = param("n-f", kind=str, choices=("n-f", "n-2f"))
    reference: ClassVar[str] = "Xie, Koyejo, Gupta, 2018 (arXiv 1802.10116)"

    def kappa(self, n: int) -> float | None:
        """4f / (n - f) (1 + κ of the median); none known for n - 2f values."""
        centre = Median(f=self.f).kappa(n)
        return None if centre is None or self.keep != "n-f" else nearest_kappa(self.f, n, centre)

    def window(self, n: int) -> Window:
        """The values around the median."""
        return Window(*middle(n), length=n - (1 if self.keep == "n-f" else 2) * self.f)


@dataclass(frozen=True)
class Phocas(Coordinatewise):
    """In each coordinate, the mean of the n - f values nearest the trimmed mean (f per side).

    Convention: ties as in `MeaMed`, the upper one of two ends that are equally far goes.

    Args:
        f: number of Byzantine rows to withstand, and of values left out; needs n >= 2f + 1.

    Source: Xie, Koyejo, Gupta, arXiv 1805.09682, 2018.

    Example:
        >>> import numpy as np
        >>> Phocas(f=1)(np.array([[1.0], [2.0], [3.0], [90.0]])).tolist()
        [2.0]
    """

    f: int = param(ge=0)
    reference: ClassVar[str] = "Xie, Koyejo, Gupta, 2018 (arXiv 1805.09682)"

    def kappa(self, n: int) -> float | None:
        """4f / (n - f) (1 + κ of the trimmed mean)."""
        centre = TrimmedMean(f=self.f).kappa(n)
        return None if centre is None else nearest_kappa(self.f, n, centre)

    def window(self, n: int) -> Window:
        """The n - f values around the trimmed mean."""
        return Window(self.f, n - self.f, length=n - self.f)
