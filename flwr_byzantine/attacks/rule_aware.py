"""Attacks that try their strength out on the very rule that the server runs, chains included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, ColludingAttack
from flwr_byzantine.attacks.colluding import NDSS21, perturbation
from flwr_byzantine.attacks.line_search import BYZFL, DENSE, best_strength
from flwr_byzantine.attacks.simulated_rule import SimulatedRule
from flwr_byzantine.declare.params import param
from flwr_byzantine.errors import InvalidParameter

OPTIMAL = "Shejwalkar, Houmansadr, NDSS 2021; Allouah et al., AISTATS 2023"


class RuleAwareAttack(ColludingAttack):
    """All send mean + t p, with the strength t that does the server's rule most damage; a final attack defines `ray`.

    Damage is ‖aggregate - honest mean‖. How t is found: `flwr_byzantine.attacks.line_search`.
    """

    knowledge: ClassVar[str] = "rule"
    evals: int
    search: str

    def ray(self, honest: Array) -> tuple[Array, float]:
        """(d,) direction p, and the least strength."""
        raise NotImplementedError  # every final attack defines it

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """Mean + t p."""
        server, (p, lowest) = SimulatedRule(self, honest, context), self.ray(honest)
        return np.asarray(server.mean + best_strength(server, f, p, lowest, self.evals, self.search) * p)


@dataclass(frozen=True)
class AGRTailored(RuleAwareAttack):
    """All send mean + γ p with the γ >= 0 that does the server's rule most damage, ‖aggregate - honest mean‖.

    The paper's search goes up and down from γ = 10 by steps that halve. It takes damage for something that grows up to one
    edge; against chains there are several, and it did 21 % of a dense search's damage in the worst of 123 cases. The search here
    (`flwr_byzantine.attacks.line_search`) is held to 98 % by a test.

    Args:
        direction: p, "unit", "std" or "sign", see `MinMax`.
        evals: how often the rule is tried, at least 8.
        search: "dense", or "byzfl", which goes from the least strength by steps from 10 on; ByzFL tries 20 times.

    Raises:
        InvalidParameter: the rule is not known.

    Source: Shejwalkar, Houmansadr, NDSS 2021.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import rules
        >>> sent = AGRTailored(direction="sign")(np.arange(1.0, 8.0)[:, None], 2, rule=rules.Median())
        >>> bool(sent.max() < 3.0)
        True
    """

    direction: str = param("std", kind=str, choices=("unit", "std", "sign"))
    evals: int = param(100, ge=8)
    search: str = param(DENSE, kind=str, choices=(DENSE, BYZFL))
    reference: ClassVar[str] = NDSS21

    def ray(self, honest: Array) -> tuple[Array, float]:
        """The perturbation of this direction, from 0."""
        return perturbation(honest, self.direction), 0.0


@dataclass(frozen=True)
class OptimalALIE(RuleAwareAttack):
    """All send mean - z std, as `ALIE` does, with the z >= 0 that does the server's rule most damage.

    Damage is ‖aggregate - honest mean‖. It is AGR-tailored with direction "std", under the name that it has in ByzFL.

    Args:
        evals: how often the rule is tried, at least 8.
        search: "dense", or "byzfl", which goes from the least strength by steps from 10 on; ByzFL tries 20 times.
        sign: -1, or 1 for mean + z std, which ByzFL sends, with deviations that divide by h - 1 (so does its search here).

    Raises:
        InvalidParameter: the rule is not known.

    Source: Shejwalkar, Houmansadr, NDSS 2021; Allouah et al., AISTATS 2023.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import rules
        >>> bool(OptimalALIE()(np.arange(7.0)[:, None], 2, rule=rules.Median())[0, 0] < 3.0)
        True
    """

    evals: int = param(100, ge=8)
    search: str = param(DENSE, kind=str, choices=(DENSE, BYZFL))
    sign: int = param(-1, choices=(-1, 1))
    reference: ClassVar[str] = OPTIMAL

    def ray(self, honest: Array) -> tuple[Array, float]:
        """The standard deviations with the sign, from 0."""
        return self.sign * honest.std(axis=0, ddof=self.search == BYZFL and len(honest) > 1), 0.0


@dataclass(frozen=True)
class OptimalIPM(RuleAwareAttack):
    """All send -ε mean, as `IPM` does, with the ε >= 0 that does the server's rule most damage, ‖aggregate - honest mean‖.

    Args:
        evals: how often the rule is tried, at least 8.
        search: "dense", or "byzfl", which goes from the least strength by steps from 10 on; ByzFL tries 20 times.

    Raises:
        InvalidParameter: the rule is not known.

    Source: Shejwalkar, Houmansadr, NDSS 2021; Allouah et al., AISTATS 2023.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import rules
        >>> bool(OptimalIPM()(np.arange(1.0, 8.0)[:, None], 2, rule=rules.Median())[0, 0] <= 0.0)
        True
    """

    evals: int = param(100, ge=8)
    search: str = param(DENSE, kind=str, choices=(DENSE, BYZFL))
    reference: ClassVar[str] = OPTIMAL

    def ray(self, honest: Array) -> tuple[Array, float]:
        """Minus the mean, from 1 on: mean + t (-mean) is -ε mean with ε = t - 1."""
        return -honest.mean(axis=0), 1.0


@dataclass(frozen=True)
class OneCoordinate(RuleAwareAttack):
    """All send the honest mean with one coordinate far off: by the γ that does the server's rule most damage.

    In d dimensions honest updates lie about √d times as far apart as they differ in one coordinate, so that a rule that looks
    at distances lets one coordinate be that far off: mean + γ E is selected up to some γ. The attack stays on the coordinate of
    its first round. Against a rule that looks at the largest coordinate alone, all are put off (norm "inf").

    Args:
        coordinate: which one, from 0; None takes that in which the honest updates of the first round differ most.
        norm: "finite", E is one coordinate; "inf", E is 1 in all of them.
        sign: 1 or -1, of E.
        evals: how often the rule is tried, at least 8.
        search: "dense", or "byzfl", see `OptimalIPM`.

    Raises:
        InvalidParameter: the rule is not known, or the updates have no such coordinate.

    Source: El Mhamdi, Guerraoui, Rouault, ICML 2018, where Bulyan is made against it.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import rules
        >>> honest = np.random.default_rng(0).normal(size=(9, 400))
        >>> sent = OneCoordinate(coordinate=5)(honest, 2, rule=rules.Krum(f=2))[0] - honest.mean(0)
        >>> bool(sent[5] > 10 * honest[:, 5].std()), int((abs(sent) > 1e-9).sum())
        (True, 1)
    """

    coordinate: int | None = param(None, ge=0, optional=True)
    norm: str = param("finite", kind=str, choices=("finite", "inf"))
    sign: int = param(1, choices=(1, -1))
    evals: int = param(100, ge=8)
    search: str = param(DENSE, kind=str, choices=(DENSE, BYZFL))
    reference: ClassVar[str] = "El Mhamdi, Guerraoui, Rouault, ICML 2018"

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """Mean + γ E."""
        server, p = SimulatedRule(self, honest, context), np.full(honest.shape[1], float(self.norm == "inf"))
        p[int(self.next_memory(honest, f, context)["coordinate"])] = 1.0
        return np.asarray(server.mean + best_strength(server, f, self.sign * p, 0.0, self.evals, self.search) * self.sign * p)

    def next_memory(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """The coordinate."""
        if self.coordinate is not None and self.coordinate >= honest.shape[1]:
            raise InvalidParameter(f"OneCoordinate: coordinate must be below the updates' size, {honest.shape[1]}, got {self.coordinate}")
        first = honest.std(axis=0).argmax() if self.coordinate is None else self.coordinate
        return {"coordinate": np.asarray(context.memory.get("coordinate", first))}
