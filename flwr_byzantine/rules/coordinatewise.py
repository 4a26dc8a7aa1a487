"""Coordinate-wise rules: each says which window of the sorted values it averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flwr_byzantine.arrays.window import Window
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.families import Coordinatewise

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


def nearest_kappa(n: int, f: int, tail: int, spare: int = 0, honest: int | None = None) -> float:
    """κ of the mean of the n - f - spare values nearest a centre: exact for the median and, where spare is 0, the trimmed mean.

    Derived here, for h = n - f honest values, b = h - spare kept, and a centre between the means of the `tail` lowest and of the
    `tail` highest honest ones. Say that of the s low values dropped e are Byzantine: then a kept value is at most the honest one
    whose rank is e less. For the last q = s - e - spare there is none; q <= min(f, h - tail - spare), as the median is kept (where
    n is even and a tie drops the lower middle value, all kept are equal to the upper one: that is worse for b = 2 only). They
    are no farther above the centre than the last value dropped is below it, and this is at least the mean of the q + spare lowest
    honest ones. So the result is at most Σ c_i x_i over the honest values in order, where b c_i is -q / (q + spare) for these, 1
    for the others, and 2q / tail more for the `tail` highest. As Σ c_i = 1, by Cauchy-Schwarz the square of that less the honest
    mean is at most (h Σ c_i² - 1) σ², with equality for values in proportion to c_i. From below likewise; then sum over coordinates.

    Args:
        n: values.
        f: Byzantine ones among them.
        tail: see above.
        spare: how many values beyond f are dropped.
        honest: h where some honest values, not among the n, have c_i = 0.
    """
    h, b = n - f, n - f - spare
    q = min(f, h - tail - spare)
    squares = b + 3 * q + (q * q / (q + spare) if q else 0) + 4 * q * q / tail if b != 2 or spare == 0 else 4
    return ((honest or h) * squares - b * b) / (b * b)


@dataclass(frozen=True)
class MeaMed(Coordinatewise):
    """Mean around the median: in each coordinate, the mean of the n - f values nearest the median.

    Convention: the farther end of the sorted values is dropped, f times; of two ends that are equally far the upper one goes.
    Equal values count one by one, so that colluders who send one row gain nothing by it. ByzFL takes of such values those of the
    rows that its partition puts first.

    Args:
        f: number of Byzantine rows to withstand, and of values left out; needs n >= 2f + 1.
        keep: how many values are averaged: "n-f", or "n-2f" as acfa-flower has it.

    Source: Xie, Koyejo, Gupta, arXiv 1802.10116, 2018. κ: see `kappa`.

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
    kappa_exact: ClassVar[bool] = True

    def kappa(self, n: int) -> float | None:
        """4f/h (1 + f / (h - a)), h = n - f and a = ⌊(n - 1) / 2⌋, as of `nearest_kappa`, which has n - 2f values too: exact."""
        tail, spare = n - self.f - (n - 1) // 2, 0 if self.keep == "n-f" else self.f
        return nearest_kappa(n, self.f, tail, spare) if n >= self.min_n() else None

    def window(self, n: int) -> Window:
        """The values around the median."""
        return Window(*middle(n), length=n - (1 if self.keep == "n-f" else 2) * self.f)


@dataclass(frozen=True)
class Phocas(Coordinatewise):
    """In each coordinate, the mean of the n - f values nearest the trimmed mean (f per side).

    Convention: ties as in `MeaMed`, the upper one of two ends that are equally far goes.

    Args:
        f: number of Byzantine rows to withstand, and of values left out; needs n >= 2f + 1.

    Source: Xie, Koyejo, Gupta, arXiv 1805.09682, 2018. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> Phocas(f=1)(np.array([[1.0], [2.0], [3.0], [90.0]])).tolist()
        [2.0]
    """

    f: int = param(ge=0)
    reference: ClassVar[str] = "Xie, Koyejo, Gupta, 2018 (arXiv 1805.09682)"
    kappa_exact: ClassVar[bool] = True

    def kappa(self, n: int) -> float | None:
        """4f / (n - 2f), as of `nearest_kappa`: exact."""
        return nearest_kappa(n, self.f, n - 2 * self.f) if n >= self.min_n() else None

    def window(self, n: int) -> Window:
        """The n - f values around the trimmed mean."""
        return Window(self.f, n - self.f, length=n - self.f)
