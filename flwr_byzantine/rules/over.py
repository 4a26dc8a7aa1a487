"""Rules that are made of another rule: they average the rows nearest its answer, on the whole model or on groups of coordinates."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from math import sqrt
from typing import ClassVar, Self

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.declare.params import param
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.coordinatewise import Median
from flwr_byzantine.rules.families import Mixing
from flwr_byzantine.rules.krum import Krum
from flwr_byzantine.rules.pipeline import combine, run
from flwr_byzantine.rules.results import Combination, Reduced, State, mean_of
from flwr_byzantine.rules.view import View

MEDIAN, KRUM = Median(), Krum(f=0)  # bases where none is given
FLAGS = ("equivariant", "scales", "symmetric", "robust")


class Over(Rule):
    """A rule over `base`, any rule or chain that aggregates this round's updates by themselves; both withstand one f.

    By name: "ctma(median)", "gas(nnm+krum)". What holds of the base only holds of the rule only: see `FLAGS`.
    """

    base: Rule

    def __post_init__(self) -> None:
        """Give the base this f, and declare of the rule what both are."""
        super().__post_init__()
        if self.base.rows(1 << 20) != 1 or any(stage.stateful or stage.anchors or stage.detects for stage in self.base.stages()):
            wanted = "a rule that aggregates by this round's updates alone, such as Krum(f=2)"
            raise InvalidParameter(f"{type(self).__name__}: base must be {wanted}, got {self.base}")
        if self.base.f not in (0, self.f):
            raise InvalidParameter(f"{type(self).__name__}: base must have the same f, got {self.base} for f={self.f}")
        object.__setattr__(self, "base", self.base.with_f(self.f))
        for flag in FLAGS:
            object.__setattr__(self, flag, getattr(type(self), flag) and all(getattr(stage, flag) for stage in self.base.stages()))
        object.__setattr__(self, "uses_gram", type(self).uses_gram and any(stage.uses_gram for stage in self.base.stages()))
        object.__setattr__(self, "distances_from", "" if isinstance(self, GAS) else self.base.stages()[0].distances_from)

    def min_n(self) -> int:
        """2f + 1, and what the base needs."""
        return max(super().min_n(), self.base.min_n())

    def check(self, n: int) -> None:
        """As `Rule.check`, and as the base's."""
        super().check(n)
        self.base.check(n)

    def obstacle(self) -> str:
        """The base's."""
        return next((f"works over {type(stage).__name__}, which {why}" for stage in self.base.stages() if (why := stage.obstacle())), "")

    def with_f(self, f: int) -> Self:
        """Rule and base for another f."""
        return replace(self, f=f, base=self.base.with_f(f))

    def inner(self, view: View, n: int) -> Reduced:
        """The base's aggregate of the view's rows, which are mixtures of n updates; the view is not changed."""
        seen = copy.copy(view)
        combine(self.base.stages(), seen)
        return self.base.stages()[-1].reduced(seen, n)

    def __str__(self) -> str:
        return super().__str__().replace(repr(self.base), str(self.base))


@dataclass(frozen=True)
class CTMA(Over, Mixing):
    """Centered trimmed meta-aggregator: the mean of the n - f rows nearest to what another rule answers.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1, and what the base needs.
        base: the rule whose answer is the centre.

    Source: Dahan, Levy, ICML 2024. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> CTMA(f=1, base=Median())(np.array([[1.0], [2.0], [6.0], [90.0]])).tolist()
        [3.0]
    """

    f: int = param(ge=0)
    base: Rule = param(MEDIAN, kind=Rule)
    reference: ClassVar[str] = "Dahan, Levy, ICML 2024"

    def kappa(self, n: int) -> float | None:
        """4f / (n - f) (1 + κ) with the base's κ; none where that has none.

        Derived here: of the h = n - f rows kept, the Byzantine ones, at most f, are no farther from the base's answer y than the honest
        rows k whose place they took. So the result is within 2/h Σ ‖x_k - y‖ of the honest mean, over at most f honest rows, and by
        Cauchy-Schwarz its square is at most 4f/h² times the sum of ‖x_k - y‖² over all h, which is h (σ² + ‖y - x̄‖²) <= h (1 + κ) σ².
        """
        centre = self.base.kappa(n) if n >= self.min_n() and (self.robust or self.f == 0) else None
        return None if centre is None else 4 * self.f / (n - self.f) * (1 + centre)

    def mix(self, view: View) -> Combination:
        """1/(n - f) on the nearest."""
        return nearest_to(self.inner(view, view.updates.n - view.anchors), view, view.n - self.f)


def nearest_to(centre: Reduced, view: View, keep: int) -> Combination:
    """The mean of the `keep` rows nearest to an aggregate of them."""
    apart = view.beside([view.updates.deltas(centre.blocks)]).distances_to(view.n + view.anchors)
    return mean_of(np.argsort(apart, kind="stable")[:keep].tolist(), view.n, apart)


@dataclass(frozen=True)
class Aksel(Mixing):
    """The mean of the n - f rows nearest to the coordinate-wise median.

    Convention: EPFL's code averages by default the nearer half, ⌊(n + 1) / 2⌋ rows: keep="mid"; its median is the lower middle value
    where n is even, ours the mean of both.

    Args:
        f: number of Byzantine rows to withstand, and of rows left out; needs n >= 2f + 1.
        keep: how many rows are averaged: "n-f", or "mid", the nearer half.

    Source: Boussetta, El-Mhamdi, Guerraoui, Maurer, Rouault, OPODIS 2020. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> Aksel(f=1)(np.array([[1.0], [2.0], [6.0], [90.0]])).tolist()
        [3.0]
    """

    f: int = param(ge=0)
    keep: str = param("n-f", kind=str, choices=("n-f", "mid"))
    cost: ClassVar[str] = "n log(n) d"
    uses_gram: ClassVar[bool] = False
    reference: ClassVar[str] = "Boussetta, El-Mhamdi, Guerraoui, Maurer, Rouault, OPODIS 2020"

    def kappa(self, n: int) -> float | None:
        """4f / (n - f) (1 + κ), κ the median's, as of `CTMA`; of the nearer half (√κ + √(1 + κ))².

        Derived here for the half: its c rows are nearer to the median y than any c honest ones, of which there are c <= n - f; so their
        mean is within √(σ² + ‖y - x̄‖²) <= √(1 + κ) σ of y by Jensen, and y within √κ σ of the honest mean.
        """
        centre = Median(f=self.f).kappa(n)
        if centre is None:
            return None
        return 4 * self.f / (n - self.f) * (1 + centre) if self.keep == "n-f" else (sqrt(centre) + sqrt(1 + centre)) ** 2

    def mix(self, view: View) -> Combination:
        """Equal weights on the nearest."""
        keep = view.n - self.f if self.keep == "n-f" else (view.n + 1) // 2
        return nearest_to(Median(f=self.f).reduced(view, view.updates.n - view.anchors), view, keep)


@dataclass(frozen=True)
class GAS(Over, Mixing):
    """Gradient splitting: the mean of the n - f rows that lie nearest to another rule's answers on random groups of coordinates.

    The coordinates are dealt to p groups at random, anew in each round. On each group the base rule aggregates; a row's score is the sum,
    over the groups, of its distances to these aggregates.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 3 with Krum as base, else what that needs and 2f + 1.
        base: the rule that aggregates each group.
        p: how many groups; no more than there are coordinates.
        seed: of the groups.

    Source: Liu, Chen, Lyu, Wu, Wu, Chen, ICML 2023.

    Example:
        >>> import numpy as np
        >>> GAS(f=1, base=Median(), p=2).aggregate(np.array([[1.0, 2.0], [1.0, 3.0], [2.0, 2.0], [9.0, 2.0]])).selected
        (0, 1, 2)
    """

    f: int = param(ge=0)
    base: Rule = param(KRUM, kind=Rule)
    p: int = param(1000, ge=1)
    seed: int = param(0, ge=0)
    cost: ClassVar[str] = "n²d"
    uses_gram: ClassVar[bool] = False  # but those of each group of coordinates
    reference: ClassVar[str] = "Liu, Chen, Lyu, Wu, Wu, Chen, ICML 2023"

    def mix(self, view: View) -> Combination:
        """1/(n - f) on the rows of lowest score."""
        d = view.updates.d
        groups = np.array_split(view.rng.permutation(d), max(1, min(self.p, d)))
        parts = (self._apart(view.updates, view.at(np.sort(group)), view.state.round) for group in groups)
        scores = sum(parts, start=np.zeros(view.n))
        return mean_of(np.argsort(scores, kind="stable")[: view.n - self.f].tolist(), view.n, scores)

    def _apart(self, updates: Updates, rows: Array, number: int) -> Array:
        """(n,) distances of (n, c) rows to the base's aggregate of them."""
        centre = run(self.base, updates.of_rows(list(rows)), State(number)).blocks[0]
        return np.asanyarray(np.linalg.norm(rows - centre, axis=1))
