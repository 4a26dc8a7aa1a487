"""What a rule is, how rules chain, and the one driver that runs them.

Two families meet in one pipeline. A *mixing* rule sees n rows only through their Gram matrix and answers
with an (m, n) matrix M: m = 1 aggregates, m > 1 pre-aggregates. A *coordinate-wise* rule reduces each
sorted column. A chain multiplies the matrices (M = M₂M₁, G' = M₁GM₁ᵀ) and touches the d coordinates
twice, once for G and once for the result, however long it is.
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any, ClassVar, Self

import numpy as np

from flwr_byzantine.arrays.conversion import ArrayKind
from flwr_byzantine.arrays.parallel import one_blas_thread
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.arrays.window import Window
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.declare.params import Declared
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate, NotFinite, TooFewUpdates
from flwr_byzantine.rules.results import Aggregate, Mix, Outcome, State
from flwr_byzantine.rules.view import View, vector


class Rule(Declared):
    """A robust aggregation rule: a frozen dataclass whose content is its mathematics.

    `rule(X)` aggregates n updates, an (n, d) array or tensor or a list of vectors, to one of X's kind and
    dtype, leaving X unchanged. Ties break by row order. Rows that are not finite are Byzantine: up to f of
    them are left out.
    """

    reference: ClassVar[str] = ""
    robust: ClassVar[bool] = True  # withstands f arbitrary rows
    equivariant: ClassVar[bool] = True  # moves with the rows: F(X + c) = F(X) + c
    scales: ClassVar[bool] = True  # F(a X) = a F(X)
    symmetric: ClassVar[bool] = True  # the order of the rows does not matter, ties apart
    stateful: ClassVar[bool] = False  # a round depends on the rounds before it
    sees_all: ClassVar[bool] = False  # reads every value at once, so that one that is not finite cannot go unnoticed
    cost: ClassVar[str] = "n²d"
    f: int = 0

    def min_n(self) -> int:
        """Smallest n for which the rule's guarantee holds."""
        return 2 * self.f + 1

    def breakdown(self, n: int) -> int:
        """The largest f for which the guarantee holds at n rows: 0 for rules that withstand nobody, -1 below every `min_n`.

        Example:
            >>> from flwr_byzantine import rules
            >>> [rule.breakdown(11) for rule in (rules.Krum(f=0), rules.Bulyan(f=0), rules.Median(), rules.Mean())]
            [4, 2, 5, 0]
        """
        if n < self.with_f(0).min_n():
            return -1
        if not all(stage.robust for stage in self.stages()):
            return 0
        f = 0
        while 2 * f + 2 < n and n >= self.with_f(f + 1).min_n():
            f += 1
        return f

    def kappa(self, n: int) -> float | None:
        """Proved upper bound on κ of (f, κ)-robustness at n rows, or None where none is known."""
        return None

    def with_f(self, f: int) -> Self:
        """The same rule for another number of Byzantine rows."""
        names = {item.name for item in dataclasses.fields(self)}
        return dataclasses.replace(self, f=f) if "f" in names else self

    def stages(self) -> tuple[Rule, ...]:
        """The simple rules that this one runs in order: itself, unless it is composed."""
        return (self,)

    def rows(self, n: int) -> int:
        """How many rows come out where n go in."""
        return 1

    def check(self, n: int) -> None:
        """Raise `TooFewUpdates` unless n rows are enough."""
        if n < self.min_n():
            raise TooFewUpdates(f"{self} needs at least {self.min_n()} updates, got {n}; lower f or gather more")

    def init(self, d: int) -> State:
        """The state before the first round of a model with d coordinates."""
        return State()

    def __call__(self, X: Any, *, reference: Any = None) -> Any:
        """(d,) aggregate of the n rows of X, of X's kind, dtype and device."""
        return self.aggregate(X, reference=reference).value

    def aggregate(self, X: Any, *, reference: Any = None) -> Aggregate:
        """The aggregate of X with weights, scores and selection; `reference` (d,) for rules that trust one."""
        return self._run(X, None, reference)[0]

    def step(self, X: Any, state: State, *, reference: Any = None) -> tuple[Any, State]:
        """One round of a stateful run: the aggregate and the next state (`state` is not changed)."""
        result, following = self._run(X, state, reference)
        return result.value, following

    def _run(self, X: Any, state: State | None, reference: Any) -> tuple[Aggregate, State]:
        updates, like = wrap(X)
        trusted = None if reference is None else vector(reference, updates.d)
        if updates.n and self.stages()[0].sees_all:
            with suppress(NotFinite):
                return self._answer(run(self, updates, state, trusted), like, list(range(updates.n)), updates.n)
        usable = [i for i, fine in enumerate(updates.finite()) if fine]
        rest = updates if len(usable) == updates.n else updates.take(usable)
        return self._answer(run(self._without(updates.n, usable), rest, state, trusted), like, usable, updates.n)

    @staticmethod
    def _answer(out: Outcome, like: ArrayKind, usable: list[int], n: int) -> tuple[Aggregate, State]:
        weights, scores, influence = (_spread(row, usable, n, fill) for row, fill in out.per_row())
        selected = None if out.selected is None else tuple(usable[i] for i in out.selected)
        assert influence is not None
        return Aggregate(like.restore(out.blocks[0]), weights, scores, selected, influence), out.state

    def _without(self, n: int, usable: list[int]) -> Rule:
        """The rule for the finite rows: f stays while enough are left, else those dropped count against it."""
        dropped = n - len(usable)
        if dropped > self.f:
            first = next(i for i in range(n) if i not in usable)
            raise MalformedUpdate(f"row {first} (of {dropped} such) is not finite; {self} can leave out {self.f} of them at most")
        return self if len(usable) >= self.min_n() else self.with_f(self.f - dropped)

    def __str__(self) -> str:
        shown = [f"{item.name}={getattr(self, item.name)!r}" for item in dataclasses.fields(self) if _shown(self, item)]
        return f"{type(self).__name__}({', '.join(shown)})"


def _spread(values: Array | None, rows: list[int], n: int, fill: float) -> Array | None:
    """`values` of `rows` among n, `fill` elsewhere."""
    if values is None or len(rows) == n:
        return values
    full = np.full(n, fill)
    full[rows] = values
    return full


def _shown(rule: Rule, item: dataclasses.Field[Any]) -> bool:
    return item.name == "f" or getattr(rule, item.name) != item.default


class Mixing(Rule):
    """A rule whose result is a linear combination of the rows with weights found from their Gram matrix.

    `equivariant`: the weights depend on differences between rows only and sum to 1, so that the place of
    the origin does not matter. `anchors`: names of extra rows, found below the n rows in the Gram matrix:
    "previous" is the last round's aggregate (as a delta; zero at first), "reference" the caller's.
    """

    anchors: ClassVar[tuple[str, ...]] = ()
    by_position: ClassVar[bool] = False  # ties go to the first row; else to the row whose values come first

    def mix(self, view: View) -> Mix:
        """The (m, n) matrix for the rows in `view`, or (m, n + anchors) where it uses its anchors."""
        raise NotImplementedError  # every final rule defines it

    def remember(self, view: View) -> dict[str, Array]:
        """Arrays for the next round's state."""
        return {}

    def finish(self, blocks: list[Array], view: View) -> list[Array]:
        """The last word on the aggregate, for rules that add noise."""
        return blocks


class Coordinatewise(Rule):
    """A rule that averages, in each coordinate, a window of the values in ascending order."""

    cost: ClassVar[str] = "n log(n) d"
    sees_all: ClassVar[bool] = True

    def window(self, n: int) -> Window:
        """The window for n rows."""
        raise NotImplementedError  # every final rule defines it


def run(rule: Rule, updates: Updates, state: State | None = None, reference: Array | None = None) -> Outcome:
    """Run `rule` over `updates`: the one driver behind rules, chains and strategies.

    Args:
        rule: any rule or chain.
        updates: n rows of d finite coordinates.
        state: what the last round returned, or None to start.
        reference: (d,) trusted delta, for rules that use one.

    Raises:
        TooFewUpdates: n is below what a stage needs.
    """
    if updates.n == 0:
        raise MalformedUpdate("expected at least one update, got none")
    rule.check(updates.n)
    state = rule.init(updates.d) if state is None else state
    stages = rule.stages()
    mixing = [stage for stage in stages if isinstance(stage, Mixing)]
    order = updates.order() if all(stage.symmetric for stage in stages) else np.arange(updates.n)
    ordered = updates.take(order.tolist())
    view = View(ordered, mixing, state, _seed(rule), reference, order)
    scores, selected, memory = None, None, {}
    for stage in stages:
        stage.check(view.n)
        if isinstance(stage, Mixing):
            with one_blas_thread(view.n):
                mix = view.by_position(stage.mix) if stage.by_position else stage.mix(view)
                scores, selected = (mix.scores, mix.selected) if view.matrix is None else (scores, selected)
                memory.update(stage.remember(view))
                view.push(mix.matrix)
    blocks, weights, influence = _finish(stages[-1], view, updates.n)
    if any("previous" in stage.anchors for stage in mixing):
        memory["previous"] = ordered.deltas(blocks)
    picked = None if selected is None else tuple(sorted(int(order[i]) for i in selected))
    back = [None if row is None else row[np.argsort(order)] for row in (weights, scores, influence)]
    return Outcome(blocks, back[0], back[1], picked, back[2], State(state.round + 1, {**state.arrays, **memory}))  # type: ignore[arg-type]


def _seed(rule: Rule) -> int:
    return max((int(getattr(stage, "seed", 0)) for stage in rule.stages()), default=0)


def _finish(last: Rule, view: View, n: int) -> tuple[list[Array], Array | None, Array]:
    if isinstance(last, Coordinatewise):
        window = last.window(view.n)
        return view.updates.windows(window, view.rows), None, _window_influence(window, view, n)
    assert view.rows is not None
    assert isinstance(last, Mixing)
    if len(view.rows) != 1:
        raise InvalidParameter(f"{last} only pre-aggregates; chain it with an aggregation rule, e.g. chain({last}, TrimmedMean(f=1))")
    weights: Array = view.rows[0]
    return last.finish(view.updates.combine(weights), view), weights[:n], _shares(np.abs(weights[:n]))


def _window_influence(window: Window, view: View, n: int) -> Array:
    """Each row's share of the averaged windows, over evenly spaced coordinates; equal values share the ranks that they have inside."""
    values = view.updates.sample(mixing=view.rows).T
    ascending = np.sort(values, axis=1)
    start, length = window.first(ascending)
    ranks = np.arange(view.n)
    within = (ranks >= start[:, None]) & (ranks < start[:, None] + length)
    low, high = (np.take_along_axis(ascending, ends[:, None], axis=1) for ends in (start, start + length - 1))
    inside = ((values > low) & (values < high)).astype(np.float64)
    for end in (low, high):  # where both are one value, the second time changes nothing
        tied = values == end
        inside[tied] = np.repeat(((ascending == end) & within).sum(axis=1) / tied.sum(axis=1), tied.sum(axis=1))
    counts = inside.sum(axis=0)
    return _shares(counts if view.rows is None else np.abs(counts @ view.rows)[:n])


def _shares(values: Array) -> Array:
    total = float(values.sum())
    return values / total if total > 0 else np.full(len(values), 1.0 / len(values))


class PreAggregation(Mixing):
    """A mixing rule with many rows out: mixes before an aggregation rule."""

    def rows(self, n: int) -> int:
        """As many rows out as in, unless the rule says otherwise."""
        return n

    def compose_kappa(self, n: int, kappa: float) -> float | None:
        """κ of `chain(self, F)` at n rows where F has `kappa`, or None where no bound is known."""
        return None
