"""What an attack is: a frozen dataclass, a pure function from what the attacker knows to the Byzantine vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.declare.params import Constraint, Declared, check
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.rules.base import Rule

KNOWLEDGE = ("own", "honest", "rule")
LARGEST = 1e120  # what attacks compute with: sums of squares stay finite


def rng_of(seed: int, round: int, partition: int | None = None) -> np.random.Generator:
    """How all mounts seed an attacker: `default_rng([seed, round, partition])`; colluders share `default_rng([seed, round])`.

    Args:
        seed: the mount's.
        round: server round, from 1.
        partition: partition id of the attacker (its node id where it has none); None for colluders.

    Example:
        >>> rng_of(0, 1, 7).random() == rng_of(0, 1, 7).random() != rng_of(0, 2, 7).random()
        True
    """
    return np.random.default_rng([seed, round] if partition is None else [seed, round, partition])


@dataclass(frozen=True)
class AttackContext:
    """What an attacker has beside the updates of this round.

    Attributes:
        round: server round, from 1.
        previous: (d,) the last global step w_k - w_{k-1}, which every client can compute; None in the first round.
        broadcast: (d,) the global model w_k that the updates are deltas to; None where it is not known.
        harm: from a (d,) aggregate of this round to how bad the model is that it leads to; None where the attacker cannot tell.
        rng: source of randomness.
        rule: the server's rule, for attacks of knowledge "rule".
        memory: what this attack kept from earlier rounds, as arrays by name.

    Where clients answer with gradients (`ByzantineSGD`), `previous` and `broadcast` come with their sign changed, so that
    they point the way the answers do.

    Example:
        >>> AttackContext().round, AttackContext().previous
        (1, None)
    """

    round: int = 1
    previous: Array | None = None
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    rule: Rule | None = None
    memory: Mapping[str, Array] = field(default_factory=dict)
    broadcast: Array | None = None
    harm: Callable[[Array], float] | None = None


class Attack(Declared):
    """An attack on the mean of updates (deltas to the broadcast model).

    `attack(honest, f, rng=..., rule=...)` maps h honest updates, an (h, d) array or tensor or a list of vectors, to
    f Byzantine ones, (f, d), of the same kind and dtype. `knowledge` says what the attacker must see: "own" its own
    honest update, "honest" all of them, "rule" the server's rule as well. Over rounds, the mounts call `vectors` with a
    `AttackContext` and keep what `remember` returns for the next one.
    """

    knowledge: ClassVar[str] = "honest"
    reference: ClassVar[str] = ""
    poisons: ClassVar[bool] = False  # whether `poison` does something
    finite: ClassVar[bool] = True  # whether it sends finite numbers only

    def __call__(self, honest: Any, f: int, rng: np.random.Generator | None = None, rule: Rule | None = None) -> Any:
        """(f, d) Byzantine updates of a first round.

        Args:
            honest: (h, d) honest updates; for own-knowledge attacks, row i (cyclically) is attacker i's own.
            f: number of attackers.
            rng: source of randomness, `default_rng(0)` by default.
            rule: the server's rule, for attacks that need it.

        Raises:
            InvalidParameter: the attack needs the rule and got none.
        """
        return self.vectors(honest, f, AttackContext(rng=np.random.default_rng(0) if rng is None else rng, rule=rule))

    def vectors(self, honest: Any, f: int, context: AttackContext) -> Any:
        """(f, d) Byzantine updates in `context`; the arguments as for a call."""
        check(type(self).__name__, "f", f, Constraint(int, ge=0))
        updates, like = wrap(honest)
        rows = np.array(updates.blocks[0].rows)
        if rows.dtype.kind != "f":
            raise MalformedUpdate(f"{type(self).__name__} needs updates of a float dtype, got {rows.dtype}")
        values = self.craft(self.usable(rows), int(f), context) if f else np.zeros((0, updates.d))
        largest = np.finfo(rows.dtype).max if self.finite else np.inf
        return like.restore(np.clip(values, -largest, largest).astype(rows.dtype))

    def usable(self, rows: Array) -> Array:
        """The rows in float64, none so large that squares overflow; those that are not finite are nothing to collude on.

        An attacker's own row stays, and all do where none is finite: with zero in place of what is no number.
        """
        finite = np.isfinite(rows).all(axis=1)
        chosen = rows if self.knowledge == "own" or not finite.any() else rows[finite]
        return np.clip(np.nan_to_num(chosen.astype(np.float64)), -LARGEST, LARGEST)

    def craft(self, honest: Array, f: int, context: AttackContext) -> Array:
        """(f, d) float64 vectors from (h, d) float64 rows."""
        raise NotImplementedError  # every final attack defines it

    def remember(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """Memory for the next round, from the same arguments as `craft` (after it: `context.rng` has moved on)."""
        return {}

    def poison(self, x: Any, y: Any, num_classes: int, rng: np.random.Generator) -> tuple[Any, Any]:
        """The attack's half on training data: inputs and labels of one batch or data set; here they stay."""
        return x, y

    def needs_rule(self, context: AttackContext) -> Rule:
        """The server's rule.

        Raises:
            InvalidParameter: the context has none.
        """
        if context.rule is None:
            raise InvalidParameter(
                f"{type(self).__name__} must know the server's rule, got None; pass it as rule=, e.g. rule=rules.Krum(f=2)"
            )
        return context.rule


class OwnAttack(Attack):
    """An attack that a client mounts from its own honest update.

    `pools`: the attackers share the update of the first of them, where the mount can see it.
    """

    knowledge: ClassVar[str] = "own"
    pools: ClassVar[bool] = False

    def own(self, update: Array, context: AttackContext) -> Array:
        """(d,) float64 Byzantine update from the client's honest one."""
        raise NotImplementedError  # every final attack defines it

    def craft(self, honest: Array, f: int, context: AttackContext) -> Array:
        """Each attacker's own update, turned."""
        return np.array([self.own(honest[0 if self.pools else i % len(honest)], context) for i in range(f)])


class ColludingAttack(Attack):
    """An attack in which all attackers send the same vector, computed from all honest updates."""

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """(d,) float64 vector that all send."""
        raise NotImplementedError  # every final attack defines it

    def craft(self, honest: Array, f: int, context: AttackContext) -> Array:
        """F copies."""
        return np.tile(self.vector(honest, f, context), (f, 1))
