"""Rules about what the server does with another rule's aggregate: turn parts of it round, go a part of the way, clip and blur the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.coordinatewise import TrimmedMean
from flwr_byzantine.rules.filters import BLURS
from flwr_byzantine.rules.mixing import Mean
from flwr_byzantine.rules.over import Over
from flwr_byzantine.rules.results import Reduced
from flwr_byzantine.rules.view import View

MEAN = Mean()  # the base where none is given


def moved(view: View, found: Reduced, steps: Array) -> Reduced:
    """An aggregate moved by (d,) steps; it is no longer a combination of rows."""
    ends = np.cumsum([len(block) for block in found.blocks])[:-1]
    return Reduced(view.updates.shifted(found.blocks, np.split(steps, ends)), None, found.influence)


@dataclass(frozen=True)
class RLR(Over):
    """Robust learning rate: another rule's aggregate, turned round in the coordinates where too few rows agree in sign.

    Where |Σ sign(x_i)| < θ, the server's step goes the other way. Made against backdoors, which few clients pull at.

    Convention: signs of the deltas to the broadcast model. θ is f + 1 by default, the least that f rows alone do not reach; the authors
    want it in f + 1, ..., n - f. f rows can still turn coordinates round, so that no bound is claimed whatever the base is.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1, n >= θ + f, and what the base needs.
        base: the rule whose aggregate is turned: the mean, as in the paper's first experiments, or another.
        theta: θ; None takes f + 1.

    Source: Özdayi, Kantarcioglu, Gel, AAAI 2021.

    Example:
        >>> import numpy as np
        >>> RLR(f=1)(np.array([[1.0, 3.0], [1.0, -1.0], [1.0, -1.0], [1.0, 3.0]])).tolist()
        [1.0, -1.0]
    """

    f: int = param(ge=0)
    base: Rule = param(MEAN, kind=Rule)
    theta: int | None = param(None, ge=1, optional=True)
    equivariant: ClassVar[bool] = False
    robust: ClassVar[bool] = False
    cost: ClassVar[str] = "nd"
    reference: ClassVar[str] = "Özdayi, Kantarcioglu, Gel, AAAI 2021"

    def min_n(self) -> int:
        """2f + 1, θ + f, and what the base needs."""
        return max(super().min_n(), (self.theta or self.f + 1) + self.f)

    def reduced(self, view: View, n: int) -> Reduced:
        """The base's aggregate times 1 or -1 in each coordinate."""
        found = self.inner(view, n)
        seen = view.beside([view.updates.deltas(found.blocks)])

        def turned(rows: Array) -> Array:
            agreed = np.abs(np.sign(rows[: view.n]).sum(axis=0)) >= (self.theta or self.f + 1)
            return np.asanyarray(np.where(agreed, rows[-1], -rows[-1]))

        return Reduced(seen.updates.columns(turned, seen.matrix), None, found.influence)


@dataclass(frozen=True)
class SLSGD(Rule):
    """The last model moved a part of the way to the trimmed mean: (1 - α) x + α TrimmedMean.

    Convention: f values cut on each side, the paper's b; the last model is the origin that deltas are measured from, so that `rule(X)`
    alone gives α TrimmedMean(X). The paper lets α fall in the course of training, which is up to the caller.

    Args:
        f: number of Byzantine rows to withstand, and of values cut on each side; needs n >= 2f + 1.
        alpha: α; 1 is the trimmed mean itself.

    Source: Xie, Koyejo, Gupta, ECML PKDD 2019. κ: see `kappa`.

    Example:
        >>> import numpy as np
        >>> SLSGD(f=1, alpha=0.5)(np.array([[1.0], [2.0], [4.0], [90.0]])).tolist()
        [1.5]
    """

    f: int = param(ge=0)
    alpha: float = param(0.5, kind=float, gt=0, le=1)
    cost: ClassVar[str] = "n log(n) d"
    uses_gram: ClassVar[bool] = False
    sees_all: ClassVar[bool] = True
    reference: ClassVar[str] = "Xie, Koyejo, Gupta, ECML PKDD 2019"

    def __post_init__(self) -> None:
        """Declare that the place of the origin matters unless α is 1."""
        super().__post_init__()
        object.__setattr__(self, "equivariant", self.alpha == 1)

    def kappa(self, n: int) -> float | None:
        """The trimmed mean's, f / (n - 2f), for α = 1; else none, as equal rows x give α x."""
        return TrimmedMean(f=self.f).kappa(n) if self.alpha == 1 else None

    def reduced(self, view: View, n: int) -> Reduced:
        """The trimmed mean, less 1 - α of its way from the origin."""
        found = TrimmedMean(f=self.f).reduced(view, n)
        return found if self.alpha == 1 else moved(view, found, (self.alpha - 1) * view.updates.deltas(found.blocks))


@dataclass(frozen=True)
class CRFL(Over):
    """The new global model clipped to norm ρ_t = radius + growth t in round t = 1, 2, ..., with Gaussian noise on every coordinate.

    Convention: it is the model that is clipped, not the updates: origin plus aggregate, over the arrays that are judged. So it is for
    strategies whose clients send models; of gradients it would clip the gradient. radius and growth are the authors' for MNIST (theirs
    for EMNIST: 4 and 0.25, for LOAN: 2 and 0.025); a radius that does not follow the rows ends whatever bound the base has. They add
    no noise after the last round, and smooth the model when it predicts.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1, and what the base needs. Only these conditions use it.
        base: the rule that aggregates; the authors' is FedAvg.
        radius: of the clipping before it grows.
        growth: of the radius in a round.
        noise: standard deviation σ.
        seed: of the noise, drawn anew in each round.

    Source: Xie, Chen, Chen, Li, ICML 2021.

    Example:
        >>> import numpy as np
        >>> CRFL(radius=0.9, growth=0.1, noise=0.0)(np.array([[0.0, 2.0], [0.0, 4.0]])).tolist()
        [0.0, 1.0]
    """

    f: int = param(0, ge=0)
    base: Rule = param(MEAN, kind=Rule)
    radius: float = param(2.0, kind=float, gt=0)
    growth: float = param(0.1, kind=float, ge=0)
    noise: float = param(0.01, kind=float, ge=0)
    seed: int = param(0, ge=0)
    equivariant: ClassVar[bool] = False
    scales: ClassVar[bool] = False
    robust: ClassVar[bool] = False
    cost: ClassVar[str] = "nd"
    reference: ClassVar[str] = "Xie, Chen, Chen, Li, ICML 2021"

    def obstacle(self) -> str:
        """Noise, beside the base's."""
        return BLURS.format(self.noise) if self.noise else super().obstacle()

    def reduced(self, view: View, n: int) -> Reduced:
        """The base's aggregate, clipped and blurred."""
        found = self.inner(view, n)
        model = view.updates.origins() + view.updates.deltas(found.blocks)
        peak = float(np.abs(model).max(initial=0.0)) or 1.0  # squares of huge values would overflow
        norm, radius = float(np.linalg.norm(model / peak)), (self.radius + self.growth * (view.state.round + 1)) / peak
        clipped = min(1.0, radius / norm) if norm > 0 else 1.0
        return moved(view, found, (clipped - 1.0) * model + self.noise * view.rng.standard_normal(len(model)))
