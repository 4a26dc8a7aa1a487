"""The attack that searches for the updates that do most damage to the very rule in use."""

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
from flwr_byzantine.attacks.catalogue import FIXED
from flwr_byzantine.attacks.simulated_rule import SimulatedRule
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.families import Coordinatewise

STRENGTHS = (1.0, 0.1, 0.3, 0.6, 1.6, 3.0, 10.0)  # factors on the distance of a fixed attack's updates from the honest mean
NEAR = (0.0, -0.2, -0.1, -0.05, 0.05, 0.1, 0.2)  # around the worst value found, in units of the honest values' range


@dataclass(frozen=True)
class Adaptive(Attack):
    """Searches for the Byzantine updates B that do most damage to F(honest ∪ B), F the server's rule, and sends them.

    The search starts from candidates: every other attack that sends finite numbers, with its defaults and without memory
    of earlier rounds, those of knowledge "honest" at several distances from the honest mean as well; f copies of each
    honest update; and the vector that has in each coordinate the value, of some among and around the honest ones, that
    does most damage there. For a coordinate-wise rule the best candidate is sent, unless the goal is "model". For other
    rules ascent begins at the best, see `flwr_byzantine.attacks.ascent`. The same `rng` gives the same B.

    Args:
        evals: how often the rule is tried during the ascent, at least 0; 0 sends the best candidate.
        starts: from how many of the best candidates the ascent begins, at least 1; they share the trials.
        goal: what damage is. "distance": ‖F - honest mean‖, which κ bounds. "descent": how far F goes against the honest mean,
            which is what training loses. "model": what `AttackContext.harm` says of the model that F leads to, such as its error
            on data that the attackers have, which is what they are after in the end; it is called at each trial. The three
            have different worst cases.

    Raises:
        InvalidParameter: the rule is not known, or for "model" no `harm`.
        TooFewUpdates: the updates are too few for the rule.

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
        """(f, d) the updates of most damage that were found."""
        server = SimulatedRule(self, honest, context, self.goal)
        tried = ((server.damage(bad), -k, bad) for k, bad in enumerate(_candidates(server, f, context)))
        best = heapq.nlargest(self.starts, tried, key=lambda item: item[:2])
        solved = self.goal != "model" and all(isinstance(stage, Coordinatewise) for stage in server.rule.stages())
        evals = 0 if solved else self.evals // len(best)
        found = [climb(server, bad, damage, evals) for damage, _, bad in best]
        return max(found, key=lambda item: item[0])[1]


def _candidates(server: SimulatedRule, f: int, context: AttackContext) -> Iterator[Array]:
    """(f, d) each: what the other attacks send, all from the same randomness; copies of honest updates; the worst values."""
    for cls in (cls for cls in FIXED if cls.finite):
        bad = cls().vectors(server.honest, f, replace(context, rng=copy.deepcopy(context.rng), memory={}))
        strengths = STRENGTHS if cls.knowledge == "honest" else STRENGTHS[:1]
        yield from (bad if strength == 1 else server.mean + strength * (bad - server.mean) for strength in strengths)
    yield from (np.tile(row, (f, 1)) for row in server.honest)  # what Mimic may send
    yield _worst_values(server, f)


def _worst_values(server: SimulatedRule, f: int) -> Array:
    """(f, d) all the same: in each coordinate the value, of some from below the honest ones to above, that does most damage there.

    Then of some near that one: MeaMed and Phocas average the most of values that are only just nearer than the farthest honest one.
    """
    low, reach = server.honest.min(axis=0), np.ptp(server.honest, axis=0)
    levels = [*np.quantile(server.honest, np.linspace(0, 1, 9), axis=0), *(low + x * reach for x in (-1.0, -0.3, 1.3, 2.0))]
    worst = _worst(server, f, levels)
    return np.tile(_worst(server, f, [worst + x * reach for x in NEAR]), (f, 1))


def _worst(server: SimulatedRule, f: int, levels: list[Array]) -> Array:
    """(d,) in each coordinate the value, of these levels, that does most damage there when all f send it."""
    damage = server.damage_by_coordinate(np.array([server.shift(np.tile(level, (f, 1))) for level in levels]))
    return np.asarray(np.take_along_axis(np.array(levels), damage.argmax(axis=0)[None], axis=0)[0])
