"""Attacks that work over many rounds: what they send in one round looks harmless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, OwnAttack, WrappingAttack
from flwr_byzantine.attacks.simple import SignFlip
from flwr_byzantine.declare.params import param
from flwr_byzantine.errors import InvalidParameter


@dataclass(frozen=True)
class Drift(OwnAttack):
    """Sends u + step ‖u‖ p: its own honest update u, moved a little in a direction p that is the same in all rounds.

    Each step is small enough for robust rules to let it pass, and the steps add up.

    Args:
        step: length of the step relative to ‖u‖, above 0.
        direction: the unit vector p: "against" the attacker's first update (kept in memory), or "random" (the same for all
            attackers).
        which: number of the random direction, at least 0: attackers with the same number go the same way.

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

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """U + step ‖u‖ p."""
        return np.asarray(update + self.step * np.linalg.norm(update) * self._direction(update, context))

    def next_memory(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """The direction p."""
        return {"direction": self._direction(honest[0], context)}

    def _direction(self, update: Array, context: AttackContext) -> Array:
        if "direction" in context.memory:
            return context.memory["direction"]
        chosen = -update if self.direction == "against" else np.random.default_rng(self.which).normal(size=len(update))
        return np.asarray(chosen / max(float(np.linalg.norm(chosen)), np.finfo(float).tiny))


@dataclass(frozen=True)
class OnOff(WrappingAttack):
    """Sends honest updates until round `start`, then what `attack` makes of them in the first `on` of every `period` rounds.

    The honest rounds earn a good reputation with servers that keep one.

    Args:
        attack: what is sent in the rounds of attack; any own-knowledge attack that is not on data.
        start: first round of attack, from 1.
        on: rounds of attack in a row, at least 1.
        period: rounds from the start of one attack to the start of the next; at least `on`.

    Raises:
        InvalidParameter: period is below on.

    Source: Sun, Han, Liu, IEEE Communications Magazine 2008 (on-off attacks on trust).

    Example:
        >>> import numpy as np
        >>> attack = OnOff(start=2, on=1, period=2)
        >>> [attack.vectors(np.ones((1, 1)), 1, AttackContext(round=k)).item() for k in (1, 2, 3, 4)]
        [1.0, -10.0, 1.0, -10.0]
    """

    attack: OwnAttack = param(SignFlip(scale=10.0), kind=OwnAttack)
    start: int = param(6, ge=1)
    on: int = param(5, ge=1)
    period: int = param(10, ge=1)
    reference: ClassVar[str] = "Sun, Han, Liu, IEEE Communications Magazine 2008"

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if self.period < self.on:
            raise InvalidParameter(f"OnOff: period must be at least on = {self.on}, got {self.period}")

    def idle(self, n: int, f: int, rounds: int | None = None) -> str:
        """Says where the run ends before the first attack, or the inner attack does nothing."""
        if rounds is None or rounds >= self.start:
            return super().idle(n, f, rounds)
        return f"OnOff sends honest updates throughout: it starts in round {self.start}, and the run has {rounds}; pass a smaller start"

    def attacks_in(self, round: int) -> bool:
        """Whether the client attacks in this round."""
        return round >= self.start and (round - self.start) % self.period < self.on

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """What the attack sends in its rounds, the honest update in others."""
        return self.attack.malicious_update(update, context) if self.attacks_in(context.round) else update
