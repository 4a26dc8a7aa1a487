"""Step sizes γ_k for k = 0, 1, 2, ... as functions of k."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flwr_byzantine.declare.params import Constraint, Declared, check, param
from flwr_byzantine.errors import InvalidParameter

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Constant(Declared):
    """γ_k = gamma: reaches a neighbourhood of a stationary point, the smaller the smaller gamma is.

    Example:
        >>> Constant(0.1)(7)
        0.1
    """

    gamma: float = param(kind=float, gt=0)

    def __call__(self, k: int) -> float:
        """The same for every k."""
        return self.gamma


@dataclass(frozen=True)
class InverseRoot(Declared):
    """γ_k = gamma / √K for a run of K steps, the step of the O(1/√K) rate (`step_size` gives its best constant).

    Example:
        >>> InverseRoot(1.0, K=100)(7)
        0.1
    """

    gamma: float = param(kind=float, gt=0)
    K: int = param(ge=1)

    def __call__(self, k: int) -> float:
        """The same for every k."""
        return self.gamma / math.sqrt(self.K)


@dataclass(frozen=True)
class Polynomial(Declared):
    """γ_k = gamma / (k + 1)^p; with 1/2 < p <= 1, Σ γ_k = ∞ and Σ γ_k² < ∞, so that liminf E‖∇Q(w_k)‖² = 0.

    The limit needs the assumptions of `convergence_bound` along the whole run.

    Example:
        >>> Polynomial(1.0, p=1.0)(3)
        0.25
    """

    gamma: float = param(kind=float, gt=0)
    p: float = param(0.75, kind=float, gt=0.5, le=1)

    def __call__(self, k: int) -> float:
        """Falls with k."""
        return float(self.gamma / (k + 1) ** self.p)


@dataclass(frozen=True)
class Decay(Declared):
    """γ_k = gamma · min(1, (k + 1) / warm_up) · factor^#{m in milestones: m <= k} / (k + 1)^power: what papers train with.

    With `power` = 1 it is 1/k decay, with 1/2 the 1/√k of analyses over a known or unknown horizon; `milestones` and `factor` are
    step decay, after so many steps each. All of it may be combined; what it promises is for the other schedules to say.

    Example:
        >>> decay = Decay(1.0, milestones=(2, 3), factor=0.5)
        >>> [decay(k) for k in range(5)]
        [1.0, 1.0, 0.5, 0.25, 0.25]
        >>> [Decay(1.0, warm_up=4)(k) for k in range(5)]
        [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    gamma: float = param(kind=float, gt=0)
    milestones: tuple[int, ...] = ()
    factor: float = param(0.1, kind=float, gt=0, le=1)
    power: float = param(0.0, kind=float, ge=0, le=1)
    warm_up: int = param(0, ge=0)

    def __post_init__(self) -> None:
        """Check the milestones too."""
        super().__post_init__()
        for milestone in self.milestones:
            check("Decay", "each of milestones", milestone, Constraint(int, ge=1))

    def __call__(self, k: int) -> float:
        """Rises over the warm-up, and falls after it."""
        passed = sum(milestone <= k for milestone in self.milestones)
        rise = min(1.0, (k + 1) / max(self.warm_up, 1))
        return float(self.gamma * rise * self.factor**passed / (k + 1) ** self.power)


def schedule(step_size: Any) -> Schedule:
    """A number as a constant step, a function of k as it is.

    Raises:
        InvalidParameter: neither.

    Example:
        >>> schedule(0.5)(3)
        0.5
    """
    if callable(step_size):
        function: Schedule = step_size
        return function
    if isinstance(step_size, int | float) and not isinstance(step_size, bool):
        return Constant(step_size)
    raise InvalidParameter(f"step_size must be a number > 0 or a function from k = 0, 1, ... to one, got {step_size!r}")
