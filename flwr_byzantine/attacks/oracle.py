"""What an attacker who knows the rule can try out before it sends anything."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.attacks.base import Attack, AttackContext
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.base import Mixing
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.results import Outcome, State


class Oracle:
    """The server's rule over the honest rows and any Byzantine ones below them.

    Rules with an anchor start from the last global step, rules with a seed from the one of this round; a rule that trusts
    an update of the server's own gets the honest mean, the attacker's guess of it.

    Args:
        attack: who asks, for its name in errors.
        honest: (h, d) float64.
        context: with the rule.
        goal: what damage is: "distance", ‖aggregate - honest mean‖; "descent", how far the aggregate goes against the mean;
            or "model", how bad the model is that it leads to.

    Attributes:
        mean: (d,) of the honest rows.

    Raises:
        InvalidParameter: the context has no rule, or for "model" no `harm`.

    Example:
        >>> from flwr_byzantine import attacks, rules
        >>> oracle = Oracle(attacks.OptimalIPM(), np.array([[1.0], [3.0]]), AttackContext(rule=rules.Mean()))
        >>> oracle.damage(np.array([[5.0]]))
        1.0
    """

    def __init__(self, attack: Attack, honest: Array, context: AttackContext, goal: str = "distance") -> None:
        self.rule, self.honest, self.mean, self.goal = attack.needs_rule(context), honest, honest.mean(axis=0), goal
        self._harmed = _harm_of(attack, context) if goal == "model" else None
        known = {} if context.previous is None else {"previous": context.previous}
        self._state = State(context.round - 1, {**self.rule.init(honest.shape[1]).arrays, **known})

    def outcome(self, bad: Array) -> Outcome:
        """What the rule makes of the honest rows and (f, d) `bad` ones.

        Raises:
            TooFewUpdates: the rule refuses so many of so few.
        """
        with np.errstate(all="ignore"):  # far-off rows are what attackers try
            return run(self.rule, wrap(np.concatenate([self.honest, bad]))[0], self._state, self.mean)

    def shift(self, bad: Array) -> Array:
        """(d,) aggregate minus the honest mean."""
        return np.asarray(self.outcome(bad).blocks[0] - self.mean)

    def damage(self, bad: Array) -> float:
        """What `goal` says, larger is worse for the server; -infinity where the aggregate is not finite."""
        return self.judge(bad)[0]

    def judge(self, bad: Array) -> tuple[float, bool | None]:
        """The damage, and whether the rule selects Byzantine rows only, or all of them where it selects many (None: it does not select)."""
        outcome = self.outcome(bad)
        found = self._harm(outcome.blocks[0] - self.mean)
        selected = outcome.selected
        accepted = None if selected is None else sum(i >= len(self.honest) for i in selected) >= min(len(bad), len(selected))
        return (found if np.isfinite(found) else -np.inf), accepted

    def _harm(self, shift: Array) -> float:
        if self._harmed is not None:
            return float(self._harmed(self.mean + shift))
        if self.goal == "distance":
            return float(np.linalg.norm(shift))
        return float(-shift @ self.mean / max(float(np.linalg.norm(self.mean)), np.finfo(float).tiny))

    def harms(self, shifts: Array) -> Array:
        """The same of each coordinate by itself, of (k, d) aggregates minus the honest mean; for "model" as for "descent"."""
        return np.abs(shifts) if self.goal == "distance" else -shifts * np.sign(self.mean)

    def compressed(self, bad: Array, *directions: Array) -> tuple[Oracle, Array] | None:
        """The same in few coordinates, and the (m, d) orthonormal rows that lead back; None where the rule answers otherwise there.

        Mixing rules look at inner products, and do not notice that rows, anchors and `directions` are written in a basis of
        their span. Some look at coordinates as well, or add noise: that is tried out on `bad`.
        """
        anchors = [value[None] for value in self._state.arrays.values() if value.shape == self.mean.shape]
        spanning = np.concatenate([self.honest, bad, *anchors, *directions])
        if spanning.shape[1] <= 8 * len(spanning) or not all(isinstance(stage, Mixing) for stage in self.rule.stages()):
            return None
        basis = np.linalg.qr(spanning.T)[0].T
        small = copy.copy(self)
        small.honest, small.mean = self.honest @ basis.T, self.mean @ basis.T
        if (harmed := self._harmed) is not None:
            small._harmed = lambda aggregate: harmed(aggregate @ basis)
        arrays = {key: value @ basis.T if value.shape == self.mean.shape else value for key, value in self._state.arrays.items()}
        small._state = State(self._state.round, arrays)
        back = small.shift(bad @ basis.T) @ basis
        return (small, basis) if np.allclose(back, self.shift(bad), rtol=1e-6, atol=1e-9 * np.abs(self.mean).max()) else None


def _harm_of(attack: Attack, context: AttackContext) -> Callable[[Array], float]:
    if context.harm is None:
        raise InvalidParameter(
            f"{type(attack).__name__}(goal='model') must be able to tell how bad a model is, got no harm; "
            "pass harm= to the AdversarialGrid, or call play with AttackContext(harm=...)"
        )
    return context.harm


def line_search(value: Callable[[float], float], evals: int = 20, delta: float = 10.0, ratio: float = 0.8) -> float:
    """The best x >= 0 found for value(x): from 0 in steps that double while they pay, then shrink by `ratio` around the best.

    Args:
        value: what to maximise.
        evals: how often `value` is called.
        delta: first step.
        ratio: how steps shrink, in (0, 1).

    Source: the convention of ByzFL's line maximisation (evals 20, delta 10, ratio 0.8).

    Example:
        >>> round(line_search(lambda x: -((x - 7.0) ** 2), evals=60), 2)
        7.0
    """
    best, top, x, doubling = 0.0, value(0.0), 0.0, True
    for _ in range(evals - 1):
        x = best + delta if doubling else x + delta if x < best else _back(x, delta)
        found = value(x)
        doubling = doubling and found > top
        delta *= 2.0 if doubling else ratio
        best, top = (x, found) if found > top else (best, top)
    return best


def _back(x: float, delta: float) -> float:
    """X - delta, or half of x where that is below zero."""
    return x - delta if x >= delta else x / 2
