"""Attacks tuned to the rule that the server runs, chains included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, ColludingAttack
from flwr_byzantine.attacks.colluding import NDSS21, perturbation
from flwr_byzantine.attacks.oracle import Oracle, line_search
from flwr_byzantine.declare.params import param

OPTIMAL = "Shejwalkar, Houmansadr, NDSS 2021; Allouah et al., AISTATS 2023 (line search as in ByzFL)"


class TailoredAttack(ColludingAttack):
    """A colluding attack that needs the server's rule."""

    knowledge: ClassVar[str] = "rule"


@dataclass(frozen=True)
class AGRTailored(TailoredAttack):
    """mean + γ p with the γ that the server's rule lets through and that hurts it most.

    Convention: the paper's search, γ up by half the step where the attack succeeds and down where not, the step halved, until
    it is below tau. Success: a rule that selects, selects the attackers (all of them where it selects many); where the rule
    does not select, or is a chain, no γ tried before did as much damage. Sent is the successful γ of the greatest damage, of
    all γ tried where none succeeded.

    Args:
        direction: p, "unit", "std" or "sign", see `MinMax`.
        gamma_init: first γ and first step (the paper's 10).
        tau: step at which the search ends.

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
        """The paper's search for γ."""
        oracle, p = Oracle(self, honest, context), perturbation(honest, self.direction)
        gamma = step = self.gamma_init
        tried = [(False, oracle.damage(np.tile(oracle.mean, (f, 1))), 0.0)]  # success, damage, -γ: of equals, the least conspicuous
        while step > self.tau:
            bad = np.tile(oracle.mean + gamma * p, (f, 1))
            damage, accepted = oracle.judge(bad)
            success = accepted if accepted is not None else damage > max(before for _, before, _ in tried)
            tried.append((success, damage, -gamma))
            gamma, step = gamma + (step / 2 if success else -step / 2), step / 2
        return np.asarray(oracle.mean - max(tried)[2] * p)


@dataclass(frozen=True)
class LineSearch(TailoredAttack):
    """base + x direction with the x >= 0 of most damage to the server's rule."""

    evals: int = param(20, ge=2)
    delta: float = param(10.0, kind=float, gt=0)
    ratio: float = param(0.8, kind=float, gt=0, lt=1)
    reference: ClassVar[str] = OPTIMAL

    def ray(self, honest: Array) -> tuple[Array, Array]:
        """(d,) base and (d,) direction."""
        raise NotImplementedError  # every final attack defines it

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """By line search on x."""
        oracle, (base, direction) = Oracle(self, honest, context), self.ray(honest)
        x = line_search(lambda x: oracle.damage(np.tile(base + x * direction, (f, 1))), self.evals, self.delta, self.ratio)
        return np.asarray(base + x * direction)


@dataclass(frozen=True)
class OptimalALIE(LineSearch):
    """mean - z std with the z of most damage to the server's rule.

    Convention: damage is ‖F(all) - honest mean‖; z >= 0 by line search from 0 as in ByzFL.

    Args:
        evals: how often the rule is tried.
        delta: first step of z.
        ratio: how steps shrink.

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
        """From the mean against the deviations."""
        return honest.mean(axis=0), -honest.std(axis=0)


@dataclass(frozen=True)
class OptimalIPM(LineSearch):
    """-ε mean with the ε of most damage to the server's rule.

    Convention: as for `OptimalALIE`.

    Args:
        evals: how often the rule is tried.
        delta: first step of ε.
        ratio: how steps shrink.

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
        """From the origin against the mean."""
        return np.zeros(honest.shape[1]), -honest.mean(axis=0)
