"""What a rule is: `Rule`. Its two families are in `families`; `pipeline` runs them."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any, ClassVar, Self

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.declare.params import Declared
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate, NotFinite, NotReproducible, TooFewUpdates
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.results import Aggregate, Combination, Reduced, State, Verdict
from flwr_byzantine.rules.view import View, node_ids, server_of


class Rule(Declared):
    """A robust aggregation rule: a frozen dataclass whose content is its mathematics.

    `rule(X)` aggregates n updates, an (n, d) array or tensor or a list of vectors, to one of X's kind and
    dtype, leaving X unchanged. Ties break by row order. Rows that are not finite are Byzantine: up to f of
    them are left out.
    """

    reference: ClassVar[str] = ""
    robust: ClassVar[bool] = True  # withstands f arbitrary rows
    kappa_exact: ClassVar[bool] = False  # some rows reach what `kappa` says, so that no smaller bound holds
    equivariant: ClassVar[bool] = True  # moves with the rows: F(X + c) = F(X) + c
    scales: ClassVar[bool] = True  # F(a X) = a F(X)
    symmetric: ClassVar[bool] = True  # the order of the rows does not matter, ties apart
    stateful: ClassVar[bool] = False  # a round depends on the rounds before it
    mixes: ClassVar[bool] = False  # replaces the rows by combinations of them
    detects: ClassVar[bool] = False  # leaves senders out before the rule: see `detectors.base.Detector`
    anchors: ClassVar[tuple[str, ...]] = ()  # names of extra rows that it looks at, see `Mixing`
    sees_all: ClassVar[bool] = False  # reads every value at once, so that one that is not finite cannot go unnoticed
    cost: ClassVar[str] = "n²d"
    uses_gram: ClassVar[bool] = True  # reads the Gram matrix of the updates, which is worked out while they come
    distances_from: ClassVar[str] = ""  # where no stage reads that, what first distances are from: the "origin", or "previous" (aggregate)
    f: int = 0

    def min_n(self) -> int:
        """Smallest n for which the rule's guarantee holds."""
        return 2 * self.f + 1

    def breakdown(self, n: int) -> int:
        """The largest f for which the guarantee holds at n rows and the rule can be run.

        It is 0 for rules that withstand nobody, and -1 below every `min_n`.

        Example:
            >>> from flwr_byzantine import rules
            >>> [rule.breakdown(11) for rule in (rules.Krum(f=0), rules.Bulyan(f=0), rules.Median(), rules.Mean())]
            [4, 2, 5, 0]
        """
        if n < self.with_f(0).min_n():
            return -1
        if not self.robust:
            return 0
        f = 0
        while 2 * f + 2 < n and self.takes(f + 1, n):
            f += 1
        return f

    def takes(self, f: int, n: int) -> bool:
        """Whether the rule can be made for f, and run on n rows: MDA and SMEA refuse what would take too long."""
        with suppress(TooFewUpdates, InvalidParameter):
            self.with_f(f).check(n)
            return True
        return False

    def obstacle(self) -> str:
        """Why `reproducible=True` cannot have this rule: what it does whose bits depend on the machine; empty where nothing does."""
        return ""

    def kappa(self, n: int) -> float | None:
        """Proved upper bound on κ at n rows, or None where none is known or the guarantee does not hold (n below `min_n`).

        (f, κ)-robustness: for every n - f of the rows, the aggregate's squared distance to their mean x̄ is at most κ σ², with
        σ² the mean of their ‖x_i - x̄‖², whatever the other f rows are. No rule has a κ below r = f / (n - 2f).
        Proofs here rest on one lemma: a mean of t of h rows is within √((h - t) / t) σ of the mean of all.

        Source: Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, AISTATS 2023.
        """
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

    def judge(self, view: View) -> Verdict:
        """Whom a detector leaves out."""
        raise NotImplementedError  # every detector defines it

    def combined(self, view: View) -> Combination:
        """The rows that come out, as combinations of the view's."""
        raise NotImplementedError  # the family of rules that mix defines it

    def next_state(self, view: View) -> dict[str, Array]:
        """Named arrays for the next round's state; called after `combined`."""
        return {}

    def reduced(self, view: View, n: int) -> Reduced:
        """The aggregate of the view's rows, which are mixtures of n updates; for the last stage of a chain."""
        raise NotImplementedError  # both families define it

    def __call__(self, X: Any, *, trusted: Any = None, reference: Any = None, **brought: Any) -> Any:
        """(d,) aggregate of the n rows of X, of X's kind, dtype and device; arguments and errors as of `aggregate`."""
        return self.aggregate(X, trusted=trusted, reference=reference, **brought).value

    def aggregate(
        self, X: Any, *, trusted: Any = None, reference: Any = None, nodes: Any = None, reproducible: bool = False, **brought: Any
    ) -> Aggregate:
        """The aggregate of X with weights, scores and selection.

        Args:
            X: (n, d) array or tensor, or a list of n vectors.
            trusted: (d,) the server's own update, for rules that trust one (FLTrust); others do not look at it.
            reference: another name of `trusted`.
            nodes: who sent each row: n different integers, for rules and detectors with a memory; the rows' numbers by default.
            reproducible: compute the same bits on every machine, which takes longer; see docs/reproducible.md.
            brought: what else a detector may look at: `layout` (name -> shape of each array of the model), `loss` and `predict`
                (functions of a (d,) delta: see `Server`).

        Raises:
            TooFewUpdates: n is below `min_n`; `TooFewLeft` where detectors leave too few rows for the rule.
            MalformedUpdate: X is not n vectors of one length, or more than f rows are not finite; nodes are not n different integers.
            InvalidParameter: the rule trusts an update of the server's own, and none is given; or something else that it needs.
            NotReproducible: under reproducible=True, a rule whose bits depend on the machine.
        """
        return self._run(X, None, nodes, {**brought, "trusted": _either(trusted, reference)}, reproducible)[0]

    def step(
        self,
        X: Any,
        state: State,
        *,
        trusted: Any = None,
        reference: Any = None,
        nodes: Any = None,
        reproducible: bool = False,
        **brought: Any,
    ) -> tuple[Any, State]:
        """One round of a stateful run: the aggregate, and the state for the next round (`state` is not changed).

        Args:
            X: as of `aggregate`, and so are the others and what is raised.
            state: `init(d)` in the first round, then what the last `step` returned.
            trusted: the server's own update.
            reference: another name of `trusted`.
            nodes: who sent each row.
            reproducible: as of `aggregate`.
            brought: what else a detector may look at.
        """
        result, following = self._run(X, state, nodes, {**brought, "trusted": _either(trusted, reference)}, reproducible)
        return result.value, following

    def _run(self, X: Any, state: State | None, nodes: Any, brought: dict[str, Any], reproducible: bool = False) -> tuple[Aggregate, State]:
        if reproducible:
            refuse_irreproducible(self)
        updates, kind = wrap(X, reproducible)
        updates.ids, server = node_ids(nodes, updates.n), server_of(updates.d, **brought)
        if updates.n and self.stages()[0].sees_all:
            with suppress(NotFinite):
                out = run(self, updates, state, server)
                return out.aggregate(kind, list(range(updates.n)), updates.n), out.state
        rule, usable, rest = self._for_finite(updates)
        out = run(rule, rest, state, server)
        return out.aggregate(kind, usable, updates.n), out.state

    def _for_finite(self, updates: Updates) -> tuple[Self, list[int], Updates]:
        """The rule for the finite rows: f stays while enough are left, else those left out count against it; their indices; these rows."""
        n, usable = updates.n, [i for i, finite in enumerate(updates.finite()) if finite]
        dropped = n - len(usable)
        if dropped > self.f:
            first = next(i for i in range(n) if i not in usable)
            raise MalformedUpdate(f"row {first} (of {dropped} such) is not finite; {self} can leave out {self.f} of them at most")
        rule = self if len(usable) >= self.min_n() else self.with_f(self.f - dropped)
        return rule, usable, updates.take(usable) if dropped else updates

    def __str__(self) -> str:
        shown = [f"{item.name}={getattr(self, item.name)!r}" for item in dataclasses.fields(self) if _shown(self, item)]
        return f"{type(self).__name__}({', '.join(shown)})"


def refuse_irreproducible(rule: Rule) -> None:
    """Refuse a rule of which `reproducible=True` cannot hold.

    Raises:
        NotReproducible: one sentence names the rule and says why.
    """
    for stage in rule.stages():
        if why := stage.obstacle():
            raise NotReproducible(f"reproducible=True: {type(stage).__name__} {why}")


def _either(trusted: Any, reference: Any) -> Any:
    """The trusted vector under either of its names."""
    if trusted is not None and reference is not None:
        raise InvalidParameter("trusted= and reference= are two names of one vector, the server's own update: pass one of them")
    return reference if trusted is None else trusted


def _shown(rule: Rule, item: dataclasses.Field[Any]) -> bool:
    return item.name == "f" or getattr(rule, item.name) != item.default
