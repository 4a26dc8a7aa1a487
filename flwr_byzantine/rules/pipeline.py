"""`run`: the one place where rules, chains and strategies alike are run over updates.

Detectors leave rows out first, and the rest of the chain runs as if these had never come. Every stage after them may replace
the rows by combinations of them; the last one makes the aggregate. The matrices are multiplied (M = M₂M₁, G' = M₁GM₁ᵀ), so
that these touch the d coordinates twice however long the chain is: once for the Gram matrix G and once for the aggregate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Protocol

import numpy as np

from flwr_byzantine.arrays.ordered import plain
from flwr_byzantine.arrays.parallel import one_blas_thread
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.errors import MalformedUpdate, TooFewLeft, TooFewUpdates
from flwr_byzantine.rules.results import Combination, Detection, Outcome, Reduced, State, Verdict
from flwr_byzantine.rules.server import Server
from flwr_byzantine.rules.view import View, counted


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
    def detects(self) -> bool:
        """Whether it leaves senders out before the rule."""

    @property
    def uses_gram(self) -> bool:
        """Whether it reads the Gram matrix."""

    @property
    def anchors(self) -> tuple[str, ...]:
        """Names of extra rows."""

    def stages(self) -> Sequence[Stage]:
        """The simple rules that this one runs in order."""

    def check(self, n: int) -> None:
        """Raise `TooFewUpdates` unless n rows are enough."""

    def init(self, d: int) -> State:
        """The state before the first round."""

    def judge(self, view: View) -> Verdict:
        """Whom a detector leaves out."""

    def combined(self, view: View) -> Combination:
        """The rows that come out, as combinations of the view's."""

    def next_state(self, view: View) -> dict[str, Array]:
        """Named arrays for the next round's state."""

    def reduced(self, view: View, n: int) -> Reduced:
        """The aggregate of the view's rows."""


def run(rule: Stage, updates: Updates, state: State | None = None, server: Server | None = None) -> Outcome:
    """Run `rule` over `updates`.

    Args:
        rule: any rule or chain.
        updates: n rows of d finite coordinates.
        state: what the last round returned, or None to start.
        server: what the server has of its own, for rules and stages that look at it; its update as a delta to the origin.

    Raises:
        TooFewUpdates: n is below what a stage needs; `TooFewLeft` where detectors leave too few.
        MalformedUpdate: there is no update, or one that is not finite was noticed.
    """
    if updates.n == 0:
        raise MalformedUpdate("expected at least one update, got none")
    rule.check(updates.n)
    state = rule.init(updates.d) if state is None else state
    stages = list(rule.stages())
    found = _screened([*takewhile(lambda stage: stage.detects, stages)], updates, state, server)
    if not found.detections:
        return _aggregated(stages, updates, state, server, found)
    try:
        stages[len(found.detections)].check(len(found.places))
        outcome = _aggregated(stages, updates.take(found.places.tolist()), state, server, found)
    except TooFewUpdates as error:
        raise found.too_few(error) from None
    return replace(outcome.spread(found.places.tolist(), updates.n), detections=tuple(found.detections))


@dataclass
class _Screened:
    """What detectors leave: places of rows, how many times each of these counts, what was said of all, the detectors' memory."""

    places: Array
    factors: Array
    detections: list[Detection]
    memory: dict[str, Array]

    def enter(self, name: str, verdict: Verdict, order: Array, n: int) -> None:
        """A detector's verdict on the rows that are left, which it saw in this order."""
        back = np.argsort(order)
        kept = verdict.kept[back]
        self.detections.append(Detection(name, verdict.scores[back], verdict.threshold, kept).spread(self.places.tolist(), n))
        self.memory.update({f"{name}.{key}": value for key, value in verdict.memory.items()})
        if verdict.factors is not None:
            self.factors = self.factors * verdict.factors[back]
        self.places, self.factors = self.places[kept], self.factors[kept]

    def too_few(self, error: Exception) -> TooFewLeft:
        """That these detectors leave too few."""
        who = " and ".join(f"{found.name} left out {int((~found.kept).sum())}" for found in self.detections)
        return TooFewLeft(f"{who} of {len(self.detections[0].kept)} updates: {error}", tuple(self.detections))


def _screened(detectors: Sequence[Stage], updates: Updates, state: State, server: Server | None) -> _Screened:
    """What is left of the updates when each detector in turn has left out its own."""
    found = _Screened(np.arange(updates.n), np.ones(updates.n), [], {})
    for detector in detectors:
        try:
            detector.check(len(found.places))
        except TooFewUpdates as error:
            raise found.too_few(error) if found.detections else error from None
        view = view_of([detector], updates.take(found.places.tolist()), state, server)
        with one_blas_thread(view.n):
            verdict = detector.judge(view)
        if verdict.factors is not None:
            verdict = replace(verdict, factors=counted(view, verdict.factors))
        found.enter(type(detector).__name__, verdict, view.order, updates.n)
    return found


def _aggregated(stages: Sequence[Stage], updates: Updates, state: State, server: Server | None, found: _Screened) -> Outcome:
    """What the stages after the detectors make of the rows that are left."""
    rest = stages[len(found.detections) :]
    view = view_of(rest, updates, state, server)
    if not (found.factors == 1.0).all():
        view.push(np.diag(found.factors[view.order]))
    first, memory = combine(rest, view)
    result = rest[-1].reduced(view, updates.n)
    if any("previous" in stage.anchors for stage in stages):
        memory["previous"] = view.updates.deltas(result.blocks)
    scores = result.scores if first is None or first.scores is None else first.scores
    back = np.argsort(view.order)  # from the order worked in to the caller's
    return Outcome(
        result.blocks,
        None if result.weights is None else plain(result.weights[back]),
        None if scores is None else plain(scores[back]),
        None if first is None or first.selected is None else tuple(sorted(int(view.order[i]) for i in first.selected)),
        plain(result.influence[back]),
        State(state.round + 1, {**state.arrays, **found.memory, **{name: plain(value) for name, value in memory.items()}}),
    )


def view_of(stages: Sequence[Stage], updates: Updates, state: State, server: Server | None) -> View:
    """The updates as these stages see them: in an order of their values where the caller's must not matter."""
    order = updates.order() if all(stage.symmetric for stage in stages) else np.arange(updates.n)
    anchors = [name for stage in stages for name in stage.anchors]
    seed = max((int(getattr(stage, "seed", 0)) for stage in stages), default=0)
    centred, reads_gram = all(stage.equivariant for stage in stages), any(stage.uses_gram for stage in stages)
    return View(updates.take(order.tolist()), anchors, state, seed, centred, server, order, reads_gram)


def combine(stages: Sequence[Stage], view: View) -> tuple[Combination | None, dict[str, Array]]:
    """Let each mixing stage replace the view's rows; returns the first stage's answer, and the arrays of the next state."""
    first, memory = None, dict[str, Array]()
    with one_blas_thread(view.n):
        for stage in stages:
            stage.check(view.n)
            if stage.mixes:
                found = stage.combined(view)
                memory.update(stage.next_state(view))
                view.push(found.matrix)
                first = found if first is None else first
    return first, memory
