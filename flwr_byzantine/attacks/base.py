"""What an attack is: a frozen dataclass, a pure function from what the attacker knows to the Byzantine vectors."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.kernels import Array
from flwr_byzantine.params import Constraint, Declared, check
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.updates import Updates

KNOWLEDGE = ("own", "honest", "rule")


class Attack(Declared):
    """An attack on the mean of updates (deltas to the broadcast model).

    `attack(honest, f, rng=..., rule=...)` maps h honest updates, an (h, d) array or tensor or a list of vectors, to
    f Byzantine ones, (f, d), of the same kind and dtype. `knowledge` says what the attacker must see: "own" its own
    honest update, "honest" all of them, "rule" the server's rule as well.
    """

    knowledge: ClassVar[str] = "honest"
    reference: ClassVar[str] = ""

    def __call__(self, honest: Any, f: int, rng: np.random.Generator | None = None, rule: Rule | None = None) -> Any:
        """(f, d) Byzantine updates.

        Args:
            honest: (h, d) honest updates; for own-knowledge attacks, row i (cyclically) is attacker i's own.
            f: number of attackers.
            rng: source of randomness, `default_rng(0)` by default.
            rule: the server's rule, for attacks that need it.
        """
        check(type(self).__name__, "f", f, Constraint(int, ge=0))
        updates, like = Updates.wrap(honest)
        rows = np.array(updates.blocks[0].rows)
        if rows.dtype.kind != "f":
            raise MalformedUpdate(f"{type(self).__name__} needs updates of a float dtype, got {rows.dtype}")
        generator = np.random.default_rng(0) if rng is None else rng
        values = self.craft(rows.astype(np.float64), int(f), generator, rule) if f else np.zeros((0, updates.d))
        with np.errstate(over="ignore"):
            return like.restore(values.astype(rows.dtype))

    def craft(self, honest: Array, f: int, rng: np.random.Generator, rule: Rule | None) -> Array:
        """(f, d) float64 vectors from (h, d) float64 rows."""
        raise NotImplementedError  # every final attack defines it


class OwnAttack(Attack):
    """An attack that a client mounts from its own honest update."""

    knowledge: ClassVar[str] = "own"

    def own(self, update: Array, rng: np.random.Generator) -> Array:
        """(d,) float64 Byzantine update from the client's honest one."""
        raise NotImplementedError  # every final attack defines it

    def craft(self, honest: Array, f: int, rng: np.random.Generator, rule: Rule | None) -> Array:
        """Each attacker's own update, turned."""
        return np.array([self.own(honest[i % len(honest)], rng) for i in range(f)])


class ColludingAttack(Attack):
    """An attack in which all attackers send the same vector, computed from all honest updates."""

    def vector(self, honest: Array, f: int) -> Array:
        """(d,) float64 vector that all send."""
        raise NotImplementedError  # every final attack defines it

    def craft(self, honest: Array, f: int, rng: np.random.Generator, rule: Rule | None) -> Array:
        """F copies."""
        return np.tile(self.vector(honest, f), (f, 1))
