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
