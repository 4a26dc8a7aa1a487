"""One attacker, or one group of colluders, over the rounds of a federation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import Attack, AttackContext, different, rng_of
from flwr_byzantine.rules.base import Rule

SAME, NOTHING = 1e-6, 1e-3  # relative to the length of the honest mean: a distance, a length


@dataclass
class Attacker:
    """An attack with what it keeps between rounds; every mount runs one for each attacker of own knowledge, or one for all colluders.

    Args:
        attack: any attack.
        seed: of its randomness, see `rng_of`.
        partition: partition id of the attacker; None for colluders.
        rule: the server's rule.
        memory: what the attack keeps between rounds, as arrays by name.
        round: the last round it took part in; 0 before the first.
        broadcast: (d,) the model that was broadcast in that round.
        notice: why the attack did nothing, once it has done nothing; for mounts to log.

    Example:
        >>> from flwr_byzantine import attacks
        >>> attacker = Attacker(attacks.SignFlip(), seed=0)
        >>> attacker.vectors(np.ones((1, 2)), 1, attacker.enter(np.zeros(2))).tolist()
        [[-1.0, -1.0]]
        >>> attacker.round
        1
    """

    attack: Attack
    seed: int
    partition: int | None = None
    rule: Rule | None = None
    memory: dict[str, Array] = field(default_factory=dict)
    round: int = 0
    broadcast: Array | None = None
    notice: str = ""

    def enter(
        self,
        broadcast: Array | None,
        round: int | None = None,
        harm: Callable[[Array], float] | None = None,
        layout: Mapping[str, tuple[int, ...]] | None = None,
    ) -> AttackContext:
        """The context of a round that the attacker takes part in.

        Args:
            broadcast: (d,) the broadcast model; with its sign changed where gradients are asked for. None where the attack looks at
                no model (`Attack.sees_model`).
            round: the server round; None counts the calls.
            harm: see `AttackContext`.
            layout: see `AttackContext`.
        """
        previous = None if self.broadcast is None or broadcast is None else _step(self.broadcast, broadcast)
        self.round, self.broadcast = self.round + 1 if round is None else round, broadcast
        model, who = None if broadcast is None else broadcast.astype(np.float64), self.partition or 0
        return AttackContext(self.round, previous, broadcast=model, harm=harm, attacker=who, layout=layout or {})

    def vectors(self, honest: Array, f: int, context: AttackContext) -> Array:
        """(f, d) malicious updates in `context`, completed by the randomness, rule and memory of this attacker."""
        context = replace(context, rng=rng_of(self.seed, context.round, self.partition), rule=self.rule, memory=self.memory)
        seen = self.attack.sanitized(honest)
        sent = self.attack.crafted(seen, f, context, honest.dtype)
        self.notice = self.notice or self.attack.idle(len(honest) + f, f) or self._wasted(seen, sent)
        self.memory = self.attack.next_memory(seen, f, context)
        return sent

    def _wasted(self, honest: Array, sent: Array) -> str:
        """What is to be said where colluders sent the honest mean, or next to nothing."""
        if self.attack.knowledge == "own" or not len(sent):
            return ""
        mean, sent = honest.mean(axis=0), different(sent)
        size, who = float(np.linalg.norm(mean)), f"{type(self.attack).__name__} sent"
        if all(np.linalg.norm(row - mean) <= SAME * size for row in sent):
            return f"{who} the honest mean itself in round {self.round}, which harms nobody"
        nothing = all(np.linalg.norm(row) <= NOTHING * size for row in sent)
        return f"{who} next to nothing in round {self.round}, that is, the broadcast model" if nothing else ""

    def state(self) -> dict[str, Array]:
        """All that must outlive the process, as arrays by name: for `resume`."""
        seen = {} if self.broadcast is None else {"broadcast": self.broadcast}
        return {**self.memory, "round": np.array(self.round), **seen}

    def resume(self, state: Mapping[str, Array]) -> None:
        """Go on from a `state`; an empty one is a fresh start."""
        self.round, self.broadcast = int(state.get("round", 0)), state.get("broadcast")
        self.memory = {name: value for name, value in state.items() if name not in ("round", "broadcast")}


def _step(old: Array, new: Array) -> Array | None:
    """(d,) float64 new - old, or None where the models differ in size; entries that are finite in neither do not move."""
    if old.shape != new.shape:
        return None
    with np.errstate(invalid="ignore"):
        step = np.subtract(new, old, dtype=np.float64)
    return step if kernels.finite(step) else np.where(np.isnan(step), 0.0, step)
