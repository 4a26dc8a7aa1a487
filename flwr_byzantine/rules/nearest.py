"""Rules that average the n - f rows nearest to one point: to the origin, or to a trusted row."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.families import Mixing
from flwr_byzantine.rules.results import Combination, mean_of
from flwr_byzantine.rules.view import View


@dataclass(frozen=True)
class CGE(Mixing):
    """Comparative gradient elimination: the mean of the n - f rows of smallest norm.

    Convention: the mean of what is kept (the paper's sum divided by n - f); norms of the deltas to the origin.

    Args:
        f: number of Byzantine rows to withstand, and of rows left out; needs n >= 2f + 1.

    Source: Gupta, Liu, Vaidya, arXiv 2008.04699, 2020.

    Example:
        >>> import numpy as np
        >>> CGE(f=1)(np.array([[1.0], [3.0], [90.0]])).tolist()
        [2.0]
    """

    f: int = param(ge=0)
    equivariant: ClassVar[bool] = False
    cost: ClassVar[str] = "nd"
    uses_gram: ClassVar[bool] = False
    distances_from: ClassVar[str] = "origin"
    sees_all: ClassVar[bool] = True
    reference: ClassVar[str] = "Gupta, Liu, Vaidya, 2020 (arXiv 2008.04699)"
    ties_by_position: ClassVar[bool] = True

    def mix(self, view: View) -> Combination:
        """1/(n - f) on the smallest."""
        norms = view.norms**2
        return mean_of(np.argsort(norms, kind="stable")[: view.n - self.f].tolist(), view.n, norms)


@dataclass(frozen=True)
class MoNNA(Mixing):
    """The mean of the n - f rows nearest to a trusted one, itself included.

    Convention: as in ByzFL, the trusted row is one of the n, by default the first.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1.
        trusted: index of the trusted row; None takes the row with the least median distance to the others, for servers
            that have no row of their own (the default of the strategies), at a cost of n²d.

    Source: Farhadkhani, Guerraoui, Gupta, Hoang, Pinot, Stephan, ICML 2023. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> MoNNA(f=1)(np.array([[1.0], [2.0], [90.0]])).tolist()
        [1.5]
    """

    f: int = param(ge=0)
    trusted: int | None = param(0, ge=0, optional=True)
    cost: ClassVar[str] = "nd"
    uses_gram: ClassVar[bool] = False
    sees_all: ClassVar[bool] = True
    reference: ClassVar[str] = "Farhadkhani, Guerraoui, Gupta, Hoang, Pinot, Stephan, ICML 2023"

    def __post_init__(self) -> None:
        """Declare that the order of the rows matters where the trusted row is known by its place; else all distances do."""
        super().__post_init__()
        object.__setattr__(self, "uses_gram", self.trusted is None)
        object.__setattr__(self, "symmetric", self.trusted is None)

    def min_n(self) -> int:
        """2f + 1, and enough rows for the trusted one."""
        return max(2 * self.f + 1, (self.trusted or 0) + 1)

    def kappa(self, n: int) -> float | None:
        """Where no row is trusted: 4f/h (1 + (√(2h / t) + √((h - t) / t))²), h = n - f, t = ⌈n/2⌉ - f; else none.

        Derived here: an honest row's median squared distance is no larger than that to t honest rows, so the least median is at
        most 2h/t σ². Within its root of the row of least median lie ⌈n/2⌉ rows, t of them honest, whose mean is within
        √((h - t) / t) σ of the honest mean. Then as for `NNM`: the Byzantine rows kept, at most f, have taken the place of honest
        ones that are no nearer. A trusted row may be Byzantine; where it is not, the same argument gives 4f.
        """
        if self.trusted is not None or n < self.min_n():
            return None
        h, t = n - self.f, (n + 1) // 2 - self.f
        return 4 * self.f / h * (1 + (sqrt(2 * h / t) + sqrt((h - t) / t)) ** 2)

    def mix(self, view: View) -> Combination:
        """1/(n - f) on the nearest."""
        middle = int(np.argmin(np.median(sq_distances(view.gram), axis=1))) if self.trusted is None else self.trusted
        apart = view.distances_to(middle) ** 2
        order = np.argsort(np.where(np.arange(view.n) == middle, -1.0, apart), kind="stable")
        return mean_of(order[: view.n - self.f].tolist(), view.n, apart)
