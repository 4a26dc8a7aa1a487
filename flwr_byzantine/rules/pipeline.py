"""`run`: the one place where rules, chains and strategies alike are run over updates.

Every stage of a chain may replace the rows by combinations of them; the last one makes the aggregate. The matrices are
multiplied (M = M₂M₁, G' = M₁GM₁ᵀ), so that the d coordinates are touched twice however long the chain is: once for the
Gram matrix G and once for the aggregate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from flwr_byzantine.arrays.parallel import one_blas_thread
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.rules.results import Combination, Outcome, Reduced, State
from flwr_byzantine.rules.view import View


class Stage(Protocol):
    """What must be known of a rule to run it; `base.Rule` says what each of these is."""

    @property
    def mixes(self) -> bool:
        """Whether it replaces the rows by combinations of them."""

    @property
    def equivariant(self) -> bool:
        """Whether the place of the origin does not matter."""

    @property
    def symmetric(self) -> bool:
        """Whether the order of the rows does not matter."""

    @property
    def anchors(self) -> tuple[str, ...]:
        """Names of extra rows."""

    def stages(self) -> Sequence[Stage]:
        """The simple rules that this one runs in order."""

    def check(self, n: int) -> None:
        """Raise `TooFewUpdates` unless n rows are enough."""

    def init(self, d: int) -> State:
        """The state before the first round."""

    def combined(self, view: View) -> Combination:
        """The rows that come out, as combinations of the view's."""

    def next_state(self, view: View) -> dict[str, Array]:
        """Named arrays for the next round's state."""

    def reduced(self, view: View, n: int) -> Reduced:
        """The aggregate of the view's rows."""


def run(rule: Stage, updates: Updates, state: State | None = None, trusted: Array | None = None) -> Outcome:
    """Run `rule` over `updates`.

    Args:
        rule: any rule or chain.
        updates: n rows of d finite coordinates.
        state: what the last round returned, or None to start.
        trusted: (d,) the server's own update, as a delta to the origin, for rules that trust one.

    Raises:
        TooFewUpdates: n is below what a stage needs.
        MalformedUpdate: there is no update, or one that is not finite was noticed.
    """
    if updates.n == 0:
        raise MalformedUpdate("expected at least one update, got none")
    rule.check(updates.n)
    state = rule.init(updates.d) if state is None else state
    view = view_of(rule, updates, state, trusted)
    first, memory = combine(rule.stages(), view)
    result = rule.stages()[-1].reduced(view, updates.n)
    if any("previous" in stage.anchors for stage in rule.stages()):
        memory["previous"] = view.updates.deltas(result.blocks)
    back = np.argsort(view.order)  # from the order worked in to the caller's
    return Outcome(
        result.blocks,
        None if result.weights is None else result.weights[back],
        None if first is None or first.scores is None else first.scores[back],
        None if first is None or first.selected is None else tuple(sorted(int(view.order[i]) for i in first.selected)),
        result.influence[back],
        State(state.round + 1, {**state.arrays, **memory}),
    )


def view_of(rule: Stage, updates: Updates, state: State, trusted: Array | None) -> View:
    """The updates as the rule's stages see them: in an order of their values where the caller's must not matter."""
    stages = rule.stages()
    order = updates.order() if all(stage.symmetric for stage in stages) else np.arange(updates.n)
    anchors = [name for stage in stages for name in stage.anchors]
    seed = max((int(getattr(stage, "seed", 0)) for stage in stages), default=0)
    centred = all(stage.equivariant for stage in stages)
    return View(updates.take(order.tolist()), anchors, state, seed, centred, trusted, order)


def combine(stages: Sequence[Stage], view: View) -> tuple[Combination | None, dict[str, Array]]:
    """Let each mixing stage replace the view's rows; returns the first stage's answer, and the arrays of the next state."""
    first, memory = None, dict[str, Array]()
    for stage in stages:
        stage.check(view.n)
        if stage.mixes:
            with one_blas_thread(view.n):
                found = stage.combined(view)
                memory.update(stage.next_state(view))
                view.push(found.matrix)
            first = found if first is None else first
    return first, memory
