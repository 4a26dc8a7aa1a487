"""An attack on those who decide whom to keep: it stays below their threshold, which it learns over the rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import Attack, AttackContext
from flwr_byzantine.attacks.colluding import perturbation
from flwr_byzantine.attacks.simulated_rule import SimulatedRule
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.results import State

KEPT = 0.8  # an effect of less than this share of the best seen says that attackers were left out
RECOVERS = 1.01  # a ceiling, once found, rises by this in each round, and the best effect falls, since thresholds move
STATE = "rule."  # prefix of the server's state in the memory


@dataclass(frozen=True)
class Undetected(Attack):
    """Each attacker sends the update of an honest client, shifted as far as the server lets pass; how far, it learns over rounds.

    Attacker i shadows honest client i in all rounds, so that the attackers differ among each other, and from round to round, as
    honest clients do. All add γ s p, with s the root mean square distance of the honest updates to their mean, and p a unit vector.

    What it learns from, `sees`:

    - "step", what any client sees: the last global step. Its part in the direction in which the attackers were off the honest mean, over
      what averaging them in would have given, says whether they were kept; less than 0.8 of the most that it has been says that some
      were not. Kept, γ grows by `grow`, up to 0.9 times the smallest γ that was caught, which rises by 1 % a round; caught, γ
      shrinks by `shrink`.
    - "rule": the attackers run a copy of the server's chain, with its state, on what they send, and send `margin` times the largest γ at
      which no detector of it leaves out an attacker whom it would keep at γ = 0, and at which the rule, where it selects, selects them.

    Both work against any detector and any rule that rejects; against one that does not reject, such as a median, "step" grows as
    long as a part of the shift comes through.

    Args:
        sees: "step" or "rule", see above; for "rule" the attack is one of knowledge "rule".
        direction: p, "unit", minus the honest mean; "std", minus its standard deviations; "sign", minus its signs; see `MinMax`.
        start: γ of the first round, above 0; for "rule" only where the search begins.
        grow: factor on γ where the attackers were kept, above 1.
        shrink: factor on γ where they were caught, in (0, 1).
        most: γ at most, above 0: detectors with a memory say nothing in their first rounds.
        margin: share of the largest γ that passes, in (0, 1], for "rule".
        evals: how often the chain is tried for γ, at least 4, for "rule".

    Raises:
        InvalidParameter: for "rule", the rule is not known.

    Source: derived here, after the largest perturbation that passes of Shejwalkar, Houmansadr, NDSS 2021.

    Example:
        >>> X, attack = np.random.default_rng(0).normal(1.0, 0.5, size=(8, 30)), Undetected(start=0.2)
        >>> memory, averaged = attack.next_memory(X, 2, AttackContext()), np.vstack([X, attack(X, 2)]).mean(0)
        >>> now = [AttackContext(2, previous=step, memory=memory) for step in (averaged, X.mean(0))]  # kept, and caught
        >>> [round(float(attack.next_memory(X, 2, context)["gamma"]), 2) for context in now]
        [0.26, 0.1]
    """

    sees: str = param("step", kind=str, choices=("step", "rule"))
    direction: str = param("unit", kind=str, choices=("unit", "std", "sign"))
    start: float = param(0.5, kind=float, gt=0)
    grow: float = param(1.3, kind=float, gt=1)
    shrink: float = param(0.5, kind=float, gt=0, lt=1)
    most: float = param(5.0, kind=float, gt=0)
    margin: float = param(0.9, kind=float, gt=0, le=1)
    evals: int = param(8, ge=4)
    reference: ClassVar[str] = "Shejwalkar, Houmansadr, NDSS 2021"

    def __post_init__(self) -> None:
        """Check the fields, and say what must be known."""
        super().__post_init__()
        object.__setattr__(self, "knowledge", "rule" if self.sees == "rule" else "honest")

    def craft(self, honest: Array, f: int, context: AttackContext) -> Array:
        """(f, d) shadows of honest updates, shifted by γ s p."""
        return self._sent(honest, f, self._gamma(honest, f, context))

    def next_memory(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """γ; for "step" where the attackers were off the mean, the best effect, and the ceiling; for "rule" the server's state."""
        gamma = self._gamma(honest, f, context)
        if self.sees == "rule":
            state = SimulatedRule(self, honest, context, state=_state(context)).next_state(self._sent(honest, f, gamma))
            return {"gamma": np.asarray(gamma), **{STATE + name: value for name, value in state.arrays.items()}}
        _, best, ceiling = self._learned(context)
        mean = honest.mean(axis=0)
        off = (self._sent(honest, f, gamma) - mean).sum(axis=0) / (len(honest) + f)
        found = {"gamma": gamma, "best": best, "ceiling": ceiling, "mean": mean, "off": off}
        return {name: np.asarray(value) for name, value in found.items()}

    def _sent(self, honest: Array, f: int, gamma: float) -> Array:
        spread = np.sqrt(((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean()) or np.linalg.norm(honest[0]) or 1.0
        p = perturbation(honest, self.direction)
        shift = gamma * spread / max(float(np.linalg.norm(p)), np.finfo(float).tiny) * p
        return np.asarray(honest[np.arange(f) % len(honest)] + shift)

    def _gamma(self, honest: Array, f: int, context: AttackContext) -> float:
        return min(self.most, self._learned(context)[0] if self.sees == "step" else self._searched(honest, f, context))

    def _learned(self, context: AttackContext) -> tuple[float, float, float]:
        """γ of this round, the best effect so far, and the ceiling of γ, from the last global step."""
        past, step = context.memory, context.previous
        if "off" not in past or step is None or len(step) != len(past["off"]):
            return float(past.get("gamma", self.start)), float(past.get("best", 0.0)), float(past.get("ceiling", np.inf))
        gamma, off = float(past["gamma"]), past["off"]
        effect = float((step - past["mean"]) @ off / max(float(off @ off), np.finfo(float).tiny))
        best, ceiling = max(effect, float(past["best"]) / RECOVERS), RECOVERS * float(past["ceiling"])
        if effect <= KEPT * best or effect <= 0:
            return self.shrink * gamma, best, gamma
        return max(min(self.grow * gamma, 0.9 * ceiling), self.shrink * gamma), best, ceiling

    def _searched(self, honest: Array, f: int, context: AttackContext) -> float:
        """`margin` times the largest γ found at which those are kept who are kept at 0."""
        server = SimulatedRule(self, honest, context, state=_state(context))
        wanted = server.kept(self._sent(honest, f, 0.0))

        def passes(gamma: float) -> bool:
            return bool((server.kept(self._sent(honest, f, gamma)) >= wanted).all())

        low, high = 0.0, float(context.memory.get("gamma", self.start)) or self.start
        if not wanted.any():
            return low
        for _ in range(self.evals // 2):
            if low >= self.most or not passes(high):
                break
            low, high = high, 2 * high
        for _ in range(self.evals // 2):
            middle = (low + high) / 2
            low, high = (middle, high) if passes(middle) else (low, middle)
        return self.margin * low


def _state(context: AttackContext) -> State | None:
    """The server's state that the attackers carry along; None in their first round."""
    arrays = {name.removeprefix(STATE): value for name, value in context.memory.items() if name.startswith(STATE)}
    return State(context.round - 1, arrays) if arrays else None
