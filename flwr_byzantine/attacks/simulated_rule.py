"""The server's rule, run by an attacker who knows it, to try updates out before any is sent."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.attacks.base import Attack, AttackContext
from flwr_byzantine.errors import InvalidParameter, TooFewLeft, TooFewUpdates
from flwr_byzantine.rules.families import Mixing
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.results import Outcome, State
from flwr_byzantine.rules.server import Layout, Server


class SimulatedRule:
    """The server's rule over the honest updates and any Byzantine ones.

    A rule that starts from the last aggregate (such as centered clipping) starts from the last global step, and one that
    draws random numbers draws those of this round. A rule that trusts an update of the server's own gets the honest mean,
    which is the attacker's guess of it, and a detector that asks for the server's loss gets `context.harm`, or
    the squared distance to that mean.

    Args:
        attack: the attack that asks; errors name it.
        honest: (h, d) float64 honest updates.
        context: the attack's, with the rule.
        goal: what damage is: "distance", ‖aggregate - honest mean‖; "descent", how far the aggregate goes against the honest
            mean; or "model", how bad the model is that it leads to, as `context.harm` says.
        state: of the rule, as far as the attackers know it; None is that of a first round, with the last global step.

    Attributes:
        mean: (d,) mean of the honest updates.
        spread: root mean square distance of the honest updates to their mean; where they are all the same the mean's length, or 1.

    Raises:
        InvalidParameter: the context has no rule, or for "model" no `harm`.

    Example:
        >>> from flwr_byzantine import attacks, rules
        >>> server = SimulatedRule(attacks.OptimalIPM(), np.array([[1.0], [3.0]]), AttackContext(rule=rules.Mean()))
        >>> server.damage(np.array([[5.0]]))
        1.0
    """

    def __init__(self, attack: Attack, honest: Array, context: AttackContext, goal: str = "distance", state: State | None = None) -> None:
        self.rule, self.honest, self.mean, self.goal = attack.required_rule(context), honest, honest.mean(axis=0), goal
        self.spread = float(np.sqrt(((honest - self.mean) ** 2).sum(axis=1).mean())) or float(np.linalg.norm(self.mean)) or 1.0
        self._harm = _harm_of(attack, context) if goal == "model" else None
        known = {} if context.previous is None else {"previous": context.previous}
        self._nodes = context.nodes
        self._server = Server(loss=context.harm or self._guessed_loss, layout=_layout(context, honest.shape[1]))
        fresh = self.rule.init(honest.shape[1]).arrays
        self._state = State(context.round - 1, {**fresh, **known}) if state is None else state

    def outcome(self, bad: Array) -> Outcome:
        """The rule's outcome over the honest updates and (f, d) `bad` ones.

        Raises:
            TooFewUpdates: these are too few for the rule.
        """
        with np.errstate(all="ignore"):  # attackers try huge values
            updates = wrap(np.concatenate([self.honest, bad]))[0]
            if self._nodes is not None and len(self._nodes) == updates.n:
                updates.ids = list(self._nodes)
            return run(self.rule, updates, self._state, replace(self._server, trusted=self.mean))

    def kept(self, bad: Array) -> Array:
        """(f,) whether each of the `bad` updates has a part in the aggregate."""
        try:
            return np.asarray(self.outcome(bad).influence[len(self.honest) :] > 0)
        except TooFewUpdates:  # a detector left too few
            return np.zeros(len(bad), dtype=bool)

    def next_state(self, bad: Array) -> State:
        """The rule's state after a round with these updates; the present one where the round is skipped."""
        try:
            return self.outcome(bad).state
        except TooFewUpdates:
            return self._state

    def _guessed_loss(self, delta: Array) -> float:
        """What a server that measures losses may find: less, the nearer a delta is to the honest mean."""
        return float(((delta - self.mean) ** 2).sum())

    def shift(self, bad: Array) -> Array:
        """(d,) aggregate minus the honest mean."""
        return np.asarray(self.outcome(bad).blocks[0] - self.mean)

    def damage(self, bad: Array) -> float:
        """The damage, see `goal`, of (f, d) `bad` updates: larger is worse for the server; -inf for an aggregate that is not finite."""
        return self.judge(bad)[0]

    def judge(self, bad: Array) -> tuple[float, bool | None]:
        """The damage, and whether the rule accepts: it selects Byzantine updates only, or all of them; None where it does not select.

        Where detectors leave the rule too few updates the round is skipped, which is no damage.
        """
        try:
            outcome = self.outcome(bad)
        except TooFewLeft:
            return -np.inf, False
        found = self._damage_of(outcome.blocks[0] - self.mean)
        selected = outcome.selected
        accepted = None if selected is None else sum(i >= len(self.honest) for i in selected) >= min(len(bad), len(selected))
        return (found if np.isfinite(found) else -np.inf), accepted

    def _damage_of(self, shift: Array) -> float:
        if self._harm is not None:
            return float(self._harm(self.mean + shift))
        if self.goal == "distance":
            return float(np.linalg.norm(shift))
        return float(-shift @ self.mean / max(float(np.linalg.norm(self.mean)), np.finfo(float).tiny))

    def damage_by_coordinate(self, shifts: Array) -> Array:
        """(k, d) the damage in each coordinate by itself of k aggregates, given minus the honest mean; for "model" that of "descent"."""
        return np.abs(shifts) if self.goal == "distance" else -shifts * np.sign(self.mean)

    def compressed(self, bad: Array, *directions: Array) -> tuple[SimulatedRule, Array] | None:
        """A copy that works in a space of few dimensions m, where trials are cheap, and an (m, d) orthonormal basis of that space.

        The space is spanned by the honest updates, `bad`, the rule's own vectors and `directions`; `x @ basis.T` leads into
        it, `@ basis` back. Rules that look at inner products alone give the same answer in it. None where the space is
        not much smaller, or where the rule looks at coordinates or adds noise, so that its answer to `bad` differs.
        """
        anchors = [value[None] for value in self._state.arrays.values() if value.shape == self.mean.shape]
        spanning = np.concatenate([self.honest, bad[:1] if (bad == bad[0]).all() else bad, *anchors, *directions])
        by_products = all(isinstance(stage, Mixing) and not stage.detects for stage in self.rule.stages())
        if spanning.shape[1] <= 8 * len(spanning) or not by_products:
            return None
        basis = _orthonormal(spanning)
        small = copy.copy(self)
        small._server = Server()
        small.honest, small.mean = self.honest @ basis.T, self.mean @ basis.T
        if (harm := self._harm) is not None:
            small._harm = lambda aggregate: harm(aggregate @ basis)
        arrays = {key: value @ basis.T if value.shape == self.mean.shape else value for key, value in self._state.arrays.items()}
        small._state = State(self._state.round, arrays)
        back = small.shift(bad @ basis.T) @ basis
        return (small, basis) if np.allclose(back, self.shift(bad), rtol=1e-6, atol=1e-9 * np.abs(self.mean).max()) else None


def _orthonormal(rows: Array) -> Array:
    """(m, d) orthonormal rows that span the given (k, d) ones, m <= k.

    From their Gram matrix, which costs one pass over them where a QR decomposition makes k; twice, since once loses half of the digits.
    """
    lengths = np.linalg.norm(rows, axis=1)
    rows = rows[lengths > 0] / lengths[lengths > 0, None]
    for _ in range(2):
        values, vectors = np.linalg.eigh(rows @ rows.T)
        kept = values > len(rows) * np.finfo(float).eps * values[-1]
        rows = (vectors[:, kept] / np.sqrt(values[kept])).T @ rows
    return rows


def _harm_of(attack: Attack, context: AttackContext) -> Callable[[Array], float]:
    """The function `context.harm`, which must be there."""
    if context.harm is None:
        raise InvalidParameter(
            f"{type(attack).__name__}(goal='model') must be able to tell how bad a model is, got no harm; "
            "pass harm= to the AdversarialGrid, or call vectors with AttackContext(harm=...)"
        )
    return context.harm


def _layout(context: AttackContext, d: int) -> Layout | None:
    """The model's arrays, where they are known and make up the updates."""
    layout = Layout(context.layout)
    return layout if context.layout and layout.d == d else None
