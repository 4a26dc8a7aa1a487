"""What a rule is, how rules chain, and the one driver that runs them.

Two families meet in one pipeline. A *mixing* rule sees n rows only through their Gram matrix and answers
with an (m, n) matrix M: m = 1 aggregates, m > 1 pre-aggregates. A *coordinate-wise* rule reduces each
sorted column. A chain multiplies the matrices (M = M₂M₁, G' = M₁GM₁ᵀ) and touches the d coordinates
twice, once for G and once for the result, however long it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from flwr_byzantine.errors import InvalidParameter, MalformedUpdate, TooFewUpdates
from flwr_byzantine.kernels import Array
from flwr_byzantine.params import Declared
from flwr_byzantine.updates import Updates


@dataclass(frozen=True)
class State:
    """What a rule carries from round to round: the round's number and named arrays (all serialisable)."""

    round: int = 0
    arrays: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Aggregate:
    """The answer of `rule.aggregate(X)`.

    Attributes:
        value: (d,) aggregate, of X's kind, dtype and device.
        weights: (n,) share of each row in the aggregate, or None for coordinate-wise rules.
        scores: (n,) the rule's badness score of each row (smaller is better), or None.
        selected: indices of the rows chosen by a selecting rule, or None.
        influence: (n,) non-negative, sums to 1: how much of the aggregate each row owns. From the weights,
            or for coordinate-wise rules from how often a row's value is inside the averaged window.
    """

    value: Any
    weights: Array | None
    scores: Array | None
    selected: tuple[int, ...] | None
    influence: Array


@dataclass(frozen=True)
class Outcome:
    """The same per block, before the caller's kind of array is restored; with the next state."""

    blocks: list[Array]
    weights: Array | None
    scores: Array | None
    selected: tuple[int, ...] | None
    influence: Array
    state: State

    def per_row(self) -> list[tuple[Array | None, float]]:
        """What is known of each row, with what a row that was left out gets."""
        return [(self.weights, 0.0), (self.scores, np.inf), (self.influence, 0.0)]


@dataclass(frozen=True)
class Mix:
    """What a mixing rule returns: an (m, n) matrix, and scores and selection where it has them."""

    matrix: Array
    scores: Array | None = None
    selected: tuple[int, ...] | None = None


class Rule(Declared):
    """A robust aggregation rule: a frozen dataclass whose content is its mathematics.

    `rule(X)` aggregates n updates, an (n, d) array or tensor or a list of vectors, to one of X's kind and
    dtype, leaving X unchanged. Ties break by row order. Rows that are not finite are Byzantine: up to f of
    them are left out.
    """

    reference: ClassVar[str] = ""
    f: int = 0

    def min_n(self) -> int:
        """Smallest n for which the rule's guarantee holds."""
        return 2 * self.f + 1

    def kappa(self, n: int) -> float | None:
        """Proved upper bound on κ of (f, κ)-robustness at n rows, or None where none is known."""
        return None

    def with_f(self, f: int) -> Self:
        """The same rule for another number of Byzantine rows."""
        names = {item.name for item in dataclasses.fields(self)}  # type: ignore[arg-type]
        return dataclasses.replace(self, f=f) if "f" in names else self  # type: ignore[type-var]

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

    def __call__(self, X: Any) -> Any:
        """(d,) aggregate of the n rows of X, of X's kind, dtype and device."""
        return self.aggregate(X).value

    def aggregate(self, X: Any) -> Aggregate:
        """The aggregate of X with weights, scores and selection."""
        return self._run(X, None)[0]

    def step(self, X: Any, state: State) -> tuple[Any, State]:
        """One round of a stateful run: the aggregate and the next state (`state` is not changed)."""
        result, following = self._run(X, state)
        return result.value, following

    def _run(self, X: Any, state: State | None) -> tuple[Aggregate, State]:
        updates, like = Updates.wrap(X)
        usable = [i for i, fine in enumerate(updates.finite()) if fine]
        rule = self._without(updates.n, usable)
        out = run(rule, updates if len(usable) == updates.n else updates.take(usable), state)
        value = like.restore(out.blocks[0])
        weights, scores, influence = (_spread(row, usable, updates.n, fill) for row, fill in out.per_row())
        selected = None if out.selected is None else tuple(usable[i] for i in out.selected)
        assert influence is not None
        return Aggregate(value, weights, scores, selected, influence), out.state

    def _without(self, n: int, usable: list[int]) -> Rule:
        """The rule for the finite rows: f stays while enough are left, else those dropped count against it."""
        dropped = n - len(usable)
        if dropped > self.f:
            first = next(i for i in range(n) if i not in usable)
            raise MalformedUpdate(f"row {first} (of {dropped} such) is not finite; {self} can leave out {self.f} of them at most")
        return self if len(usable) >= self.min_n() else self.with_f(self.f - dropped)

    def __str__(self) -> str:
        shown = [f"{item.name}={getattr(self, item.name)!r}" for item in dataclasses.fields(self) if _shown(self, item)]  # type: ignore[arg-type]
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
    the origin does not matter.
    """

    equivariant: ClassVar[bool] = True

    def mix(self, view: View) -> Mix:
        """The (m, n) matrix for the rows in `view`."""
        raise NotImplementedError  # every final rule defines it


class Coordinatewise(Rule):
    """A rule that averages, in each coordinate, a window of the values in ascending order."""

    def reduce(self, values: Array) -> Array:
        """(c, n) values ascending along axis 1 -> (c,)."""
        low, high = self.window(values)
        return window_mean(values, low, high)

    def window(self, values: Array) -> tuple[Array, int]:
        """First rank of the averaged window in each of the c columns, and its length."""
        raise NotImplementedError  # every final rule defines it


def window_mean(values: Array, start: Array, length: int) -> Array:
    """(c,) float64 means of `length` values from rank `start` in each row of (c, n) ascending values."""
    first = int(start[0]) if len(start) else 0
    if (start == first).all():
        return np.asarray(values[:, first : first + length].mean(axis=1, dtype=np.float64))
    ranks = start[:, None] + np.arange(length)
    return np.asarray(np.take_along_axis(values, ranks, axis=1).mean(axis=1, dtype=np.float64))


class View:
    """The rows that a mixing stage sees: the updates, mixed by the stages before it."""

    def __init__(self, updates: Updates, centred: bool, rng: np.random.Generator) -> None:
        self.updates, self.rng = updates, rng
        self.matrix: Array | None = None
        self._centred = centred
        self._gram: Array | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.updates.n if self.matrix is None else len(self.matrix)

    @property
    def gram(self) -> Array:
        """(n, n) Gram matrix, computed at its first use."""
        if self._gram is None:
            self._gram = self.updates.gram(self._centred)
            if self.matrix is not None:
                self._gram = self.matrix @ self._gram @ self.matrix.T
        return self._gram

    def push(self, M: Array) -> None:
        """Let `M @ rows` be the rows from here on."""
        self._gram = None if self._gram is None else M @ self._gram @ M.T
        self.matrix = M if self.matrix is None else M @ self.matrix


def run(rule: Rule, updates: Updates, state: State | None = None) -> Outcome:
    """Run `rule` over `updates`: the one driver behind rules, chains and strategies.

    Args:
        rule: any rule or chain.
        updates: n rows of d coordinates.
        state: what the last round returned, or None to start.

    Raises:
        TooFewUpdates: n is below what a stage needs.
        MalformedUpdate: a value is not finite.
    """
    if updates.n == 0:
        raise MalformedUpdate("expected at least one update, got none")
    state = rule.init(updates.d) if state is None else state
    *before, last = rule.stages()
    mixing = [stage for stage in (*before, last) if isinstance(stage, Mixing)]
    view = View(updates, all(stage.equivariant for stage in mixing), np.random.default_rng([_seed(rule), state.round]))
    scores, selected = None, None
    for stage in (*before, last):
        stage.check(view.n)
        if isinstance(stage, Mixing):
            mix = stage.mix(view)
            scores, selected = _trace(mix, view, scores, selected)
            view.push(mix.matrix)
    blocks, weights, influence = _finish(last, view)
    following = State(state.round + 1, state.arrays)
    return Outcome(blocks, weights, scores, selected, influence, following)


def _seed(rule: Rule) -> int:
    return max((int(getattr(stage, "seed", 0)) for stage in rule.stages()), default=0)


def _trace(mix: Mix, view: View, scores: Array | None, selected: tuple[int, ...] | None) -> tuple[Array | None, tuple[int, ...] | None]:
    """Scores and selection speak of the caller's rows: only a first stage's do."""
    return (mix.scores, mix.selected) if view.matrix is None else (scores, selected)


def _finish(last: Rule, view: View) -> tuple[list[Array], Array | None, Array]:
    if isinstance(last, Coordinatewise):
        return view.updates.columns(last.reduce, view.matrix), None, _window_influence(last, view)
    assert view.matrix is not None
    if len(view.matrix) != 1:
        raise InvalidParameter(f"{last} only pre-aggregates; chain it with an aggregation rule, e.g. chain({last}, TrimmedMean(f=1))")
    weights: Array = view.matrix[0]
    return view.updates.combine(weights), weights, _shares(np.abs(weights))


def _window_influence(rule: Coordinatewise, view: View) -> Array:
    """Each row's share of the averaged windows, over evenly spaced coordinates."""
    values = view.updates.sample(mixing=view.matrix).T
    order = np.argsort(values, axis=1, kind="stable")
    start, length = rule.window(np.take_along_axis(values, order, axis=1))
    inside = np.take_along_axis(order, start[:, None] + np.arange(length), axis=1)
    counts = np.bincount(inside.ravel(), minlength=view.n).astype(np.float64)
    return _shares(counts if view.matrix is None else np.abs(counts @ view.matrix))


def _shares(values: Array) -> Array:
    total = float(values.sum())
    return values / total if total > 0 else np.full(len(values), 1.0 / len(values))


@dataclass(frozen=True)
class Chain(Rule):
    """Rules applied in order: pre-aggregations, then one aggregation. Made by `chain`."""

    parts: tuple[Rule, ...] = ()
    reference: ClassVar[str] = "the references of its parts"

    def __post_init__(self) -> None:
        """Only the last part may reduce the rows to one."""
        if not self.parts or not all(isinstance(part, Rule) for part in self.parts):
            raise InvalidParameter(f"chain needs rules, e.g. chain(NNM(f=2), Krum(f=2)), got {self.parts!r}")
        for part in self.parts[:-1]:
            if part.rows(1 << 20) == 1:
                raise InvalidParameter(f"chain: {part} aggregates to one row, so nothing can follow it; put it last")
        if self.parts[-1].rows(1 << 20) != 1:
            raise InvalidParameter(f"chain: {self.parts[-1]} only pre-aggregates; end with an aggregation rule")
        object.__setattr__(self, "f", max(part.f for part in self.parts))

    def stages(self) -> tuple[Rule, ...]:
        """All parts' stages in order."""
        return tuple(stage for part in self.parts for stage in part.stages())

    def min_n(self) -> int:
        """Smallest n at which every part gets as many rows as it needs."""
        n = 1
        while not self._enough(n):
            n += 1
        return n

    def _enough(self, n: int) -> bool:
        for part in self.parts:
            if n < part.min_n():
                return False
            n = part.rows(n)
        return True

    def kappa(self, n: int) -> float | None:
        """κ of the last part, carried through the parts before it where a bound is known."""
        sizes = [n]
        for part in self.parts[:-1]:
            sizes.append(part.rows(sizes[-1]))
        value = self.parts[-1].kappa(sizes[-1])
        for part, size in zip(reversed(self.parts[:-1]), reversed(sizes[:-1]), strict=True):
            value = None if value is None else part.compose_kappa(size, value)  # type: ignore[attr-defined]
        return value

    def with_f(self, f: int) -> Chain:
        """Every part for another f."""
        return Chain(tuple(part.with_f(f) for part in self.parts))

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))


class PreAggregation(Mixing):
    """A mixing rule with many rows out: mixes before an aggregation rule."""

    def rows(self, n: int) -> int:
        """As many rows out as in, unless the rule says otherwise."""
        return n

    def compose_kappa(self, n: int, kappa: float) -> float | None:
        """κ of `chain(self, F)` at n rows where F has `kappa`, or None where no bound is known."""
        return None


def chain(*rules: Rule) -> Rule:
    """Compose rules: each part works on the rows the part before it returns.

    Args:
        rules: pre-aggregations, then one aggregation rule.

    Raises:
        InvalidParameter: an aggregation before the end, or none at the end.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import rules
        >>> rule = rules.chain(rules.NNM(f=1), rules.TrimmedMean(f=1))
        >>> rule(np.array([[1.0], [1.0], [1.0], [1.0], [99.0]])).tolist()
        [1.0]
    """
    return rules[0] if len(rules) == 1 and isinstance(rules[0], Rule) else Chain(rules)
