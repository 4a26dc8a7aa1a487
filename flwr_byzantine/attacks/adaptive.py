"""The attack that maximises the damage to the exact rule in use."""

from __future__ import annotations

import copy
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.ascent import climb
from flwr_byzantine.attacks.base import Attack, AttackContext
from flwr_byzantine.attacks.oracle import Oracle
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.base import Coordinatewise

STRENGTHS = (1.0, 0.1, 0.3, 0.6, 1.6, 3.0, 10.0)  # of a fixed attack's distance from the honest mean


@dataclass(frozen=True)
class Adaptive(Attack):
    """Gradient ascent on the damage to F(honest ∪ B), F the server's rule, from the best of all other attacks.

    Convention: every other attack that sends finite numbers is tried with its defaults, without a memory of earlier rounds;
    those of knowledge "honest" at several distances from the honest mean; copies of each honest update; then, in each
    coordinate, the level among and around the honest values that hurts most there: for a coordinate-wise rule the end of the
    search, unless the goal is "model". For others B climbs from the best; see `flwr_byzantine.attacks.ascent`. Deterministic
    for the same `rng`.

    Args:
        evals: how often the rule is tried during the ascent.
        starts: from how many of the best attacks to climb.
        goal: what damage is. "distance": ‖F - honest mean‖, which κ bounds. "descent": how far F goes against the honest mean,
            which is what training loses. "model": what `AttackContext.harm` says of the model that F leads to, such as its error on
            data that the attackers have: what they are after in the end, at the price of asking it each time. The three have
            different worst cases.

    Raises:
        InvalidParameter: the rule is not known, or for "model" no `harm`.
        TooFewUpdates: the rule refuses so few rows.

    Source: the adversary of Shejwalkar, Houmansadr, NDSS 2021 (maximal damage to a known rule), by ascent.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import attacks, rules
        >>> X, rule = np.random.default_rng(0).normal(size=(7, 4)), rules.Median()
        >>> hurt = [np.linalg.norm(rule([*X, *attack(X, 2, rule=rule)]) - X.mean(0)) for attack in (Adaptive(), attacks.ALIE())]
        >>> bool(hurt[0] > hurt[1])
        True
    """

    evals: int = param(1000, ge=0)
    starts: int = param(1, ge=1)
    goal: str = param("distance", kind=str, choices=("distance", "descent", "model"))
    knowledge: ClassVar[str] = "rule"
    reference: ClassVar[str] = "Shejwalkar, Houmansadr, NDSS 2021"

    def craft(self, honest: Array, f: int, context: AttackContext) -> Array:
        """The best of several climbs."""
        oracle = Oracle(self, honest, context, self.goal)
        tried = ((oracle.damage(bad), -k, bad) for k, bad in enumerate(_candidates(oracle, f, context)))
        best = heapq.nlargest(self.starts, tried, key=lambda item: item[:2])
        solved = self.goal != "model" and all(isinstance(stage, Coordinatewise) for stage in oracle.rule.stages())
        evals = 0 if solved else self.evals // len(best)
        climbs = [climb(oracle, bad, damage, evals) for damage, _, bad in best]
        return max(climbs, key=lambda found: found[0])[1]


def _candidates(oracle: Oracle, f: int, context: AttackContext) -> Iterator[Array]:
    """(f, d) what the other attacks send, each from the same randomness, at several strengths; copies; the worst extremes."""
    from flwr_byzantine.attacks import available  # it lists this module

    for cls in available():
        if cls is Adaptive or not cls.finite:
            continue
        bad = cls().vectors(oracle.honest, f, replace(context, rng=copy.deepcopy(context.rng), memory={}))
        strengths = STRENGTHS if cls.knowledge == "honest" else STRENGTHS[:1]
        yield from (bad if strength == 1 else oracle.mean + strength * (bad - oracle.mean) for strength in strengths)
    yield from (np.tile(row, (f, 1)) for row in oracle.honest)  # whom Mimic may choose
    yield _mosaic(oracle, f)


def _mosaic(oracle: Oracle, f: int) -> Array:
    """All at one level of the honest values, from below to above them, in each coordinate the one that hurts most there."""
    low, high = oracle.honest.min(axis=0), oracle.honest.max(axis=0)
    levels = [*np.quantile(oracle.honest, np.linspace(0, 1, 9), axis=0), *(low + x * (high - low) for x in (-1.0, -0.3, 1.3, 2.0))]
    hurt = oracle.harms(np.array([oracle.shift(np.tile(level, (f, 1))) for level in levels]))
    worst = np.take_along_axis(np.array(levels), hurt.argmax(axis=0)[None], axis=0)
    return np.tile(worst, (f, 1))
