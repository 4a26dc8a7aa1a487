"""The server's rule, run by an attacker who knows it, to try updates out before any is sent."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.conversion import as_rows
from flwr_byzantine.arrays.span import Embedded, Span, ValuesNeeded
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.attacks.base import Attack, AttackContext, different
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
        apart = kernels.distances(list(honest), [self.mean] * len(honest))
        self.spread = float(np.sqrt(apart.mean())) or float(np.linalg.norm(self.mean)) or 1.0
        self._harm = _harm_of(attack, context) if goal == "model" else None
        known = {} if context.previous is None else {"previous": context.previous}
        self._nodes = context.nodes
        self._kind: type[Updates] = Updates
        self._server = Server(loss=context.harm or self._guessed_loss, layout=_layout(context, honest.shape[1]))
        fresh = self.rule.init(honest.shape[1]).arrays
        self._state = State(context.round - 1, {**fresh, **known}) if state is None else state

    def outcome(self, bad: Array) -> Outcome:
        """The rule's outcome over the honest updates and (f, d) `bad` ones.

        Raises:
            TooFewUpdates: these are too few for the rule.
        """
        with np.errstate(all="ignore"):  # attackers try huge values
            known = self._nodes is not None and len(self._nodes) == len(self.honest) + len(bad)
            updates = self._kind([Block(as_rows([*self.honest, *bad]))], self._nodes if known else None)
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

    def compressed(self, bad: Array, directions: Array | Sequence[Array] = ()) -> Compressed | None:
        """A copy that works in the span of the honest updates, `bad`, the rule's own vectors and `directions`, where trials are cheap.

        Rules that look at inner products alone give the same answer there. None where the span is not much smaller, or where the
        rule looks at coordinates or adds noise.
        """
        own = [name for name, value in self._state.arrays.items() if value.shape == self.mean.shape]
        sent = different(bad)
        rows = [*self.honest, *sent, *directions, *(self._state.arrays[name] for name in own)]
        if len(self.mean) <= 8 * len(rows) or not all(isinstance(stage, Mixing) and not stage.detects for stage in self.rule.stages()):
            return None
        span = Span(rows, self.mean)
        honest, points, ways, anchors = np.split(span.points, np.cumsum([len(self.honest), len(sent), len(directions)]))
        small = self._within(span, honest, dict(zip(own, anchors, strict=True)))
        points = np.broadcast_to(points, (len(bad), points.shape[1]))
        return Compressed(small, points, ways, span) if points.size and small._by_products(points) else None

    def _within(self, span: Span, honest: Array, own: dict[str, Array]) -> SimulatedRule:
        """The copy over these points of the span."""
        small = copy.copy(self)
        small._kind, small._server, small.honest, small.mean = Embedded, Server(), honest, span.centre
        small._state = State(self._state.round, {**self._state.arrays, **own})
        if (harm := self._harm) is not None:
            small._harm = lambda aggregate: harm(span.lifted(aggregate[None])[0])
        return small

    def _by_products(self, bad: Array) -> bool:
        """Whether the rule needs no values of coordinates."""
        try:
            self.outcome(bad)
        except ValuesNeeded:
            return False
        return True


@dataclass(frozen=True)
class Compressed:
    """What `SimulatedRule.compressed` returns.

    Attributes:
        server: works in the span.
        bad: (f, m) points of the given updates.
        directions: (k, m) points of the given directions.
        span: leads back, by its `lifted`.
    """

    server: SimulatedRule
    bad: Array
    directions: Array
    span: Span


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
