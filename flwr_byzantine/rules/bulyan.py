"""Bulyan: a selection by Krum's score, then the values nearest the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.declare.params import param
from flwr_byzantine.errors import TooFewUpdates
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.coordinatewise import NearestMedian, nearest_kappa
from flwr_byzantine.rules.families import Mixing
from flwr_byzantine.rules.krum import krum_order, krum_scores
from flwr_byzantine.rules.results import Combination, rows_matrix
from flwr_byzantine.rules.view import View


@dataclass(frozen=True)
class _KrumSelection(Mixing):
    """Bulyan's first step: θ = n - 2f rows picked by iterating Krum, or by one scoring."""

    f: int = param(ge=0)
    iterated: bool = param(True, kind=bool)
    ties_by_position: ClassVar[bool] = True
    sees_all: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Declare that the order of the rows matters for f = 1 and 2: the last picks look at one neighbour, so two rows always tie."""
        super().__post_init__()
        object.__setattr__(self, "symmetric", not self.iterated or self.f not in (1, 2))

    def min_n(self) -> int:
        """4f + 3."""
        return 4 * self.f + 3

    def check(self, n: int) -> None:
        """As `Rule.check`; the error names Bulyan, which the user knows."""
        if n < self.min_n():
            raise TooFewUpdates(f"Bulyan(f={self.f}) needs at least {self.min_n()} updates, got {n}; lower f or gather more")

    def rows(self, n: int) -> int:
        """θ = n - 2f."""
        return n - 2 * self.f

    def mix(self, view: View) -> Combination:
        """One row of the identity for each pick."""
        D, count = sq_distances(view.gram), self.rows(view.n)
        scores = krum_scores(D, self.f)
        picks = sorted(krum_order(D, self.f, count) if self.iterated else np.argsort(scores, kind="stable")[:count].tolist())
        return Combination(rows_matrix(picks, view.n), scores, tuple(picks))


@dataclass(frozen=True)
class Bulyan(Rule):
    """Iterated Krum selection, then per coordinate the mean of the values nearest the median.

    Convention: the paper's. θ = n - 2f rows by picking with Krum, removing, scoring again (n' - f - 2 neighbours
    of the n' rows left, one at least); then in each coordinate the β = θ - 2f selected values nearest their median
    (for even θ the mean of the middle two; the paper leaves open which), ties as in `MeaMed`. Flower's legacy Bulyan does the same, its
    Message-API one scores once. For f = 1 and 2 the last picks look at one neighbour, so that the two nearest rows
    always tie: the first one is taken.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 4f + 3.
        iterated: False takes the θ rows of lowest score without scoring again, as Flower's Message-API Bulyan.

    Source: El Mhamdi, Guerraoui, Rouault, ICML 2018. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> Bulyan(f=1)(np.array([[0.0], [1.0], [1.0], [1.0], [1.0], [1.0], [90.0]])).tolist()
        [1.0]
    """

    f: int = param(ge=0)
    iterated: bool = param(True, kind=bool)
    cost: ClassVar[str] = "n²d + n³"
    reference: ClassVar[str] = "El Mhamdi, Guerraoui, Rouault, ICML 2018"

    def min_n(self) -> int:
        """4f + 3."""
        return 4 * self.f + 3

    def kappa(self, n: int) -> float | None:
        """(h/b²) (b + 3q + q² / (q + f) + 4q²/u) - 1, h = n - f, b = n - 4f, q = min(f, ⌊(b - 1) / 2⌋), u = ⌊b/2⌋ + 1.

        Derived here: whatever rows the first step selects, n - 3f of the n - 2f are honest, and the second step is a combination of
        these at most, as in `nearest_kappa`; the 2f other honest rows have no part in it. So Krum's part in it is not used.
        """
        left = n - 2 * self.f
        tail = left - self.f - (left - 1) // 2
        return nearest_kappa(left, self.f, tail, self.f, honest=n - self.f) if n >= self.min_n() else None

    def stages(self) -> tuple[Rule, ...]:
        """Selection, then the window around the median."""
        return (_KrumSelection(f=self.f, iterated=self.iterated), NearestMedian(drop=2 * self.f))
