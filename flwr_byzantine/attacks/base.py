"""What an attack is: a frozen dataclass, a pure function from what the attacker knows to the Byzantine vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.declare.params import Constraint, Declared, check
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.rules.base import Rule

LARGEST = 1e120  # what attacks compute with: sums of squares stay finite


def rng_of(seed: int, round: int, partition: int | None = None) -> np.random.Generator:
    """The random generator of an attacker in one round, the same in every mount: `default_rng([seed, round, partition])`.

    Args:
        seed: of the mount, >= 0.
        round: server round, from 1.
        partition: partition id of the attacker (its node id where it has none); None for colluders, who share
            `default_rng([seed, round])`.

    Example:
        >>> rng_of(0, 1, 7).random() == rng_of(0, 1, 7).random() != rng_of(0, 2, 7).random()
        True
    """
    return np.random.default_rng([seed, round] if partition is None else [seed, round, partition % 2**128])  # node ids may be negative


def different(rows: Array) -> Array:
    """The (f, d) rows, or the one (1, d) that they share the memory of."""
    return rows[:1] if len(rows) and rows.strides[0] == 0 else rows


def _within(values: Array, largest: float) -> bool:
    return not values.size or bool(values.max() <= largest and values.min() >= -largest)


@dataclass(frozen=True)
class AttackContext:
    """What an attacker knows beside the updates of this round.

    Attributes:
        round: server round, from 1.
        previous: (d,) the last global step w_k - w_{k-1}, which every client can compute (where it did not take part in the
            round before, since the last round it took part in); None in its first round.
        broadcast: (d,) the global model w_k, to which the updates are differences; None where it is not known.
        harm: a function from a (d,) aggregate of this round to a number that says how bad the model is that it leads to,
            larger is worse; None where the attacker cannot tell.
        rng: source of randomness.
        rule: the server's rule, for attacks of knowledge "rule".
        nodes: who sends each update, the honest ones' ids and then the attackers', for rules that remember senders; None where it is
            not known.
        memory: what this attack returned as `next_memory` in its last round, as arrays by name; empty in its first.
        attacker: number of an attacker of own knowledge: its partition id, in a call its place among the f.
        layout: name -> shape of the model's arrays, in the order in which the updates hold their values; empty where it is not known.

    Where clients answer with gradients (`ByzantineSGD`), `previous` and `broadcast` have their signs changed: a gradient
    points against the step that the server takes.

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
    nodes: tuple[int, ...] | None = None
    attacker: int = 0
    layout: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class Attack(Declared):
    """An attack on the aggregate of updates, which are differences of trained models to the broadcast model.

    `attack(honest, f, rng=..., rule=...)` maps h honest updates, an (h, d) array or tensor or a list of vectors, to
    f Byzantine ones, (f, d), of the same kind and dtype. `knowledge` says what the attacker must see: "own" its own
    honest update, "honest" all of them, "rule" the server's rule as well. In a federation, `vectors` is called once a
    round with an `AttackContext`, and what `next_memory` returns is in the context of the next round.

    A new attack is a frozen dataclass that derives from `OwnAttack`, `ColludingAttack`, or this class, and defines
    `malicious_update`, `vector` or `craft`.
    """

    knowledge: ClassVar[str] = "honest"
    reference: ClassVar[str] = ""
    poisons: ClassVar[bool] = False  # whether it has a half on training data, `poison`
    finite: ClassVar[bool] = True  # whether it sends finite numbers only
    sees_model: ClassVar[bool] = True  # whether it looks at the context's `broadcast` or `previous`, which mounts may leave out otherwise
    converts: ClassVar[bool] = False  # whether it turns finite float32 rows into float64 itself, where it needs them

    def __init_subclass__(cls, **options: Any) -> None:
        """What an attack says of looking at no model holds for itself alone: one that is derived from it may look."""
        super().__init_subclass__(**options)
        cls.sees_model = vars(cls).get("sees_model", True)

    def __call__(self, honest: Any, f: int, rng: np.random.Generator | None = None, rule: Rule | None = None) -> Any:
        """(f, d) Byzantine updates of a first round.

        Args:
            honest: (h, d) honest updates; for own-knowledge attacks, row i (cyclically) is attacker i's own.
            f: number of attackers.
            rng: source of randomness, `default_rng(0)` by default.
            rule: the server's rule, for attacks that need it.

        Raises:
            InvalidParameter: the attack needs the rule and got none, or f is no integer >= 0.
            MalformedUpdate: the updates are not of a float dtype.
        """
        return self.vectors(honest, f, AttackContext(rng=np.random.default_rng(0) if rng is None else rng, rule=rule))

    def vectors(self, honest: Any, f: int, context: AttackContext) -> Any:
        """(f, d) Byzantine updates in `context`; the other arguments and errors are those of a call."""
        check(type(self).__name__, "f", f, Constraint(int, ge=0))
        updates, like = wrap(honest)
        rows = np.array(updates.blocks[0].rows)
        if rows.dtype.kind != "f":
            raise MalformedUpdate(f"{type(self).__name__} needs updates of a float dtype, got {rows.dtype}")
        return like.restore(np.require(self.crafted(self.sanitized(rows), int(f), context, rows.dtype), requirements=("C", "W")))

    def crafted(self, honest: Array, f: int, context: AttackContext, dtype: Any) -> Array:
        """(f, d) what `craft` makes of (h, d) sanitized updates, in a dtype in which it stays finite where the attack is; read-only."""
        values = self.craft(honest, f, context) if f else np.zeros((0, honest.shape[1]))
        distinct = different(values)
        with np.errstate(over="ignore"):
            sent = distinct.astype(dtype, copy=False)
        if self.finite and not all(map(kernels.finite, sent)):
            largest = np.finfo(dtype).max
            sent = np.clip(distinct, -largest, largest).astype(dtype)
        return np.broadcast_to(sent, values.shape)

    def sanitized(self, rows: Array) -> Array:
        """The (h, d) updates as the attack computes with them: finite, and cut to ±1e120 so that squares do not overflow.

        They are in float64, but for an attack that converts float32 itself.
        Rows with values that are not finite are left out. All stay where no row is finite, and for own-knowledge attacks,
        where each row is an attacker's own: then 0 is put in the place of NaN.
        """
        finite = np.array([kernels.finite(row) for row in rows], bool)
        if finite.all():
            if self.converts and rows.dtype == np.float32:
                return rows
            exact = rows.astype(np.float64, copy=False)
            return exact if _within(exact, LARGEST) else np.clip(exact, -LARGEST, LARGEST)
        chosen = rows if self.knowledge == "own" or not finite.any() else rows[finite]
        return np.clip(np.nan_to_num(chosen.astype(np.float64)), -LARGEST, LARGEST)

    def craft(self, honest: Array, f: int, context: AttackContext) -> Array:
        """(f, d) float64 vectors from (h, d) float64 rows."""
        raise NotImplementedError  # every final attack defines it

    def next_memory(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """What the attack keeps for the next round, from the arguments of `craft`, after which it is called; nothing by default.

        The names "round" and "broadcast" are taken by the mounts.
        """
        return {}

    @property
    def watches(self) -> bool:
        """Whether it must see rounds without attackers too: colluders' mounts then call it there with f = 0."""
        return False

    def idle(self, n: int, f: int, rounds: int | None = None) -> str:
        """Why this attack does nothing, and what to pass instead; empty where it does something.

        Where it depends on the updates, `Attacker` sees it in the round. Mounts log either once, and sweeps keep it with
        the results.

        Args:
            n: number of updates.
            f: number of attackers among them.
            rounds: of the run, where they are known.
        """
        return ""

    def poison(self, x: Any, y: Any, num_classes: int, rng: np.random.Generator) -> tuple[Any, Any]:
        """Examples and labels as the attacker trains on them; an attack that is not on data returns them as they are."""
        return x, y

    def required_rule(self, context: AttackContext) -> Rule:
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
    """An attack for which a client needs its own honest update only; a final attack defines `malicious_update`."""

    knowledge: ClassVar[str] = "own"
    shares_update: ClassVar[bool] = False  # whether all attackers start from the update of the first, where the mount sees it

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """(d,) float64 what the client sends in place of its honest (d,) float64 `update`."""
        raise NotImplementedError  # every final attack defines it

    def craft(self, honest: Array, f: int, context: AttackContext) -> Array:
        """(f, d) the malicious update of each attacker; attacker i's own honest update is row i modulo h."""
        rows = [honest[0 if self.shares_update else i % len(honest)] for i in range(f)]
        return np.array([self.malicious_update(row, replace(context, attacker=context.attacker + i)) for i, row in enumerate(rows)])


class ColludingAttack(Attack):
    """An attack in which all attackers send the same vector, computed from all honest updates; a final attack defines `vector`."""

    def vector(self, honest: Array, f: int, context: AttackContext) -> Array:
        """(d,) float64 vector that all attackers send."""
        raise NotImplementedError  # every final attack defines it

    def craft(self, honest: Array, f: int, context: AttackContext) -> Array:
        """(f, d) the same vector f times, in the memory of one."""
        vector = self.vector(honest, f, context)
        return np.broadcast_to(vector, (f, len(vector)))


class WrappingAttack(OwnAttack):
    """An own-knowledge attack that uses another one, its field `attack`, and keeps that one's memory.

    Raises:
        InvalidParameter: `attack` poisons training data, which happens before there is an update.
    """

    attack: OwnAttack

    def __post_init__(self) -> None:
        """Check the fields; what is sent is finite where the inner attack's is."""
        super().__post_init__()
        if self.attack.poisons:
            raise InvalidParameter(f"{type(self).__name__}: attack must act on updates, got {self.attack!r}, which poisons training data")
        object.__setattr__(self, "finite", self.attack.finite)

    def idle(self, n: int, f: int, rounds: int | None = None) -> str:
        """What the inner attack says."""
        return self.attack.idle(n, f, rounds)

    def next_memory(self, honest: Array, f: int, context: AttackContext) -> dict[str, Array]:
        """The memory of the inner attack."""
        return self.attack.next_memory(honest, f, context)
