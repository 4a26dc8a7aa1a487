"""Attacks that try their strength out on the very rule that the server runs, chains included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, ColludingAttack
from flwr_byzantine.attacks.colluding import NDSS21, perturbation
from flwr_byzantine.attacks.simulated_rule import SimulatedRule, line_search
from flwr_byzantine.declare.params import param

OPTIMAL = "Shejwalkar, Houmansadr, NDSS 2021; Allouah et al., AISTATS 2023 (line search as in ByzFL)"


class RuleAwareAttack(ColludingAttack):
    """A colluding attack that needs to know the server's rule."""

    knowledge: ClassVar[str] = "rule"


@dataclass(frozen=True)
class AGRTailored(RuleAwareAttack):
    """All send mean + γ p with the γ that the server's rule accepts and that does it most damage.

    The paper's search: after each trial γ goes up by half the step where the trial succeeded, and down where not, and the
    step is halved, until it is at most tau. A trial succeeds where a selecting rule selects Byzantine rows only (all of
    them, where it selects that many); with a rule that does not select, or a chain, where it does more damage,
    ‖aggregate - honest mean‖, than all trials before. Sent is the γ of most damage among the successful ones, or among all
    where none succeeded.

    Args:
        direction: p, "unit", "std" or "sign", see `MinMax`.
        gamma_init: first γ and first step, above 0; the paper's is 10.
        tau: step at which the search ends, above 0.

    Raises:
        InvalidParameter: the rule is not known.

    Source: Shejwalkar, Houmansadr, NDSS 2021.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import rules
        >>> AGRTailored(direction="sign")(np.arange(1.0, 8.0)[:, None], 2, rule=rules.Median()).round(1).tolist()
        [[-6.0], [-6.0]]
    """

    direction: str = param("std", kind=str, choices=("unit", "std", "sign"))
    gamma_init: float = param(10.0, kind=float, gt=0)
    tau: float = param(1e-5, kind=float, gt=0)
    reference: ClassVar[str] = NDSS21

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """Mean + γ p."""
        server, p = SimulatedRule(self, honest, context), perturbation(honest, self.direction)
        gamma = step = self.gamma_init
        tried = [(False, server.damage(np.tile(server.mean, (f, 1))), 0.0)]  # success, damage, -γ: of equals the smallest γ
        while step > self.tau:
            bad = np.tile(server.mean + gamma * p, (f, 1))
            damage, accepted = server.judge(bad)
            success = accepted if accepted is not None else damage > max(before for _, before, _ in tried)
            tried.append((success, damage, -gamma))
            gamma, step = gamma + (step / 2 if success else -step / 2), step / 2
        return np.asarray(server.mean - max(tried)[2] * p)


@dataclass(frozen=True)
class LineSearch(RuleAwareAttack):
    """What attacks with a line search share: all send base + x · direction with the x >= 0 that does the server's rule most damage."""

    evals: int = param(20, ge=2)
    delta: float = param(10.0, kind=float, gt=0)
    ratio: float = param(0.8, kind=float, gt=0, lt=1)
    reference: ClassVar[str] = OPTIMAL

    def ray(self, honest: Array) -> tuple[Array, Array]:
        """(d,) base and (d,) direction of the search."""
        raise NotImplementedError  # every final attack defines it

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """Base + x · direction."""
        server, (base, direction) = SimulatedRule(self, honest, context), self.ray(honest)
        x = line_search(lambda x: server.damage(np.tile(base + x * direction, (f, 1))), self.evals, self.delta, self.ratio)
        return np.asarray(base + x * direction)


@dataclass(frozen=True)
class OptimalALIE(LineSearch):
    """All send mean - z std, as `ALIE` does, with the z that does the server's rule most damage.

    Damage is ‖aggregate - honest mean‖; z >= 0 is found by ByzFL's line search from 0.

    Args:
        evals: how often the rule is tried, at least 2.
        delta: first step of z, above 0.
        ratio: factor on the step once it no longer doubles, in (0, 1).

    Raises:
        InvalidParameter: the rule is not known.

    Source: Shejwalkar, Houmansadr, NDSS 2021; Allouah et al., AISTATS 2023.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import rules
        >>> bool(OptimalALIE()(np.arange(7.0)[:, None], 2, rule=rules.Median())[0, 0] < 3.0)
        True
    """

    def ray(self, honest: Array) -> tuple[Array, Array]:
        """The mean, and minus the standard deviations."""
        return honest.mean(axis=0), -honest.std(axis=0)


@dataclass(frozen=True)
class OptimalIPM(LineSearch):
    """All send -ε mean, as `IPM` does, with the ε >= 0 that does the server's rule most damage; see `OptimalALIE`.

    Args:
        evals: how often the rule is tried, at least 2.
        delta: first step of ε, above 0.
        ratio: factor on the step once it no longer doubles, in (0, 1).

    Raises:
        InvalidParameter: the rule is not known.

    Source: Shejwalkar, Houmansadr, NDSS 2021; Allouah et al., AISTATS 2023.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import rules
        >>> bool(OptimalIPM()(np.arange(1.0, 8.0)[:, None], 2, rule=rules.Median())[0, 0] <= 0.0)
        True
    """

    def ray(self, honest: Array) -> tuple[Array, Array]:
        """The origin, and minus the mean."""
        return np.zeros(honest.shape[1]), -honest.mean(axis=0)
