"""Attacks that take their time: they show over rounds what no single round does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, OwnAttack
from flwr_byzantine.attacks.own import SignFlip
from flwr_byzantine.attacks.wrapping import WrappingAttack
from flwr_byzantine.declare.params import param
from flwr_byzantine.errors import InvalidParameter


@dataclass(frozen=True)
class Drift(OwnAttack):
    """Little by little: the honest update and a small step in a direction that never changes, which robust rules let pass.

    Convention: u + step ‖u‖ p, with p a unit vector.

    Args:
        step: length of the step relative to the own update's norm.
        direction: p, "against" the first own update (kept in memory), or "random" (the same for all attackers).
        which: which random direction; attackers with the same number go the same way.

    Source: the time-coupled attack of Karimireddy, He, Jaggi, ICML 2021, which shifts each round by little.

    Example:
        >>> import numpy as np
        >>> Drift(step=0.5)(np.array([[0.0, 4.0]]), 1).tolist()
        [[0.0, 2.0]]
    """

    step: float = param(0.5, kind=float, gt=0)
    direction: str = param("against", kind=str, choices=("against", "random"))
    which: int = param(0, ge=0)
    reference: ClassVar[str] = "Karimireddy, He, Jaggi, ICML 2021"

    def own(self, update: Array, context: AttackContext) -> Array:
        """A step aside."""
        return np.asarray(update + self.step * np.linalg.norm(update) * self._direction(update, context))

    def remember(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """The direction."""
        return {"direction": self._direction(honest[0], context)}

    def _direction(self, update: Array, context: AttackContext) -> Array:
        if "direction" in context.memory:
            return context.memory["direction"]
        chosen = -update if self.direction == "against" else np.random.default_rng(self.which).normal(size=len(update))
        return np.asarray(chosen / max(float(np.linalg.norm(chosen)), np.finfo(float).tiny))


@dataclass(frozen=True)
class OnOff(WrappingAttack):
    """Behaves until round `start`, then strikes in the first `on` of every `period` rounds: against reputations.

    Args:
        attack: what is done in the rounds of attack.
        start: first round of attack, from 1.
        on: rounds of attack in a row.
        period: rounds from the start of one attack to the next; at least `on`.

    Raises:
        InvalidParameter: period is below on.

    Source: Sun, Han, Liu, IEEE Communications Magazine 2008 (on-off attacks on trust).

    Example:
        >>> import numpy as np
        >>> attack = OnOff(start=2, on=1, period=2)
        >>> [attack.vectors(np.ones((1, 1)), 1, AttackContext(round=k)).item() for k in (1, 2, 3, 4)]
        [1.0, -10.0, 1.0, -10.0]
    """

    attack: OwnAttack = param(SignFlip(scale=10.0), kind=OwnAttack)  # noqa: RUF009
    start: int = param(6, ge=1)
    on: int = param(5, ge=1)
    period: int = param(10, ge=1)
    reference: ClassVar[str] = "Sun, Han, Liu, IEEE Communications Magazine 2008"

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if self.period < self.on:
            raise InvalidParameter(f"OnOff: period must be at least on = {self.on}, got {self.period}")

    def strikes(self, round: int) -> bool:
        """Whether `round` is one of attack."""
        return round >= self.start and (round - self.start) % self.period < self.on

    def own(self, update: Array, context: AttackContext) -> Array:
        """The attack, or nothing."""
        return self.attack.own(update, context) if self.strikes(context.round) else update
