"""`View`: what a mixing rule sees of the updates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from flwr_byzantine.arrays.geometry import HUGE, Limits, sq_distances
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.rules.results import Combination, State
from flwr_byzantine.rules.server import Layout, Server


class View:
    """The rows that a mixing stage sees: the updates, mixed by the stages before it, then the anchors.

    Args:
        updates: the n updates, in the order worked in.
        anchors: names of the extra rows that the rule looks at, see `Mixing`.
        state: of the rounds before.
        seed: of the round's random numbers, with the round's number.
        centred: whether the place of the origin does not matter to any stage.
        server: what the server has of its own.
        order: (n,) the updates' places among those that the caller gave; None where the order is his.
        reads_gram: whether a stage is to read the Gram matrix, so that no pass is made for what its diagonal says.

    Attributes:
        n: number of rows as they are now; the anchors come below them.
        matrix: (n + anchors, updates + anchors) makes the rows from the updates; None where they are the updates.
        limits: how much of each update counts, in inner products and in what is made of the rows alike; None where all
            count as they are, which those of any ordinary size do.
        short: (n,) how many times each row counts in `rows_of`, beside its limit; None before that.
        rng: the round's random numbers.
    """

    def __init__(
        self,
        updates: Updates,
        anchors: Sequence[str],
        state: State,
        seed: int = 0,
        centred: bool = True,
        server: Server | None = None,
        order: Array | None = None,
        reads_gram: bool = False,
    ) -> None:
        self.order = np.arange(updates.n) if order is None else order
        self.state, self.rng = state, np.random.default_rng([seed, state.round])
        self.server = server or Server()
        self.updates = updates.append([_anchor(name, state, updates.d, self.server.trusted) for name in anchors]) if anchors else updates
        self.anchors, self.n = len(anchors), updates.n
        self.matrix: Array | None = None
        self.limits: Limits | None = None
        self.short: Array | None = None
        self._centred, self._reads_gram = centred, reads_gram
        self._gram: Array | None = None
        self._source: View | None = None  # what this one reorders

    def mix_as_given(self, mix: Callable[[View], Combination]) -> Combination:
        """The answer of `mix` with the rows in the caller's order, so that ties go to the row given first; in this view's order."""
        if self.n != len(self.order):
            return mix(self)
        place, given = np.argsort(self.order), copy.copy(self)
        given._source = self
        found = mix(given)
        columns = np.concatenate([self.order, np.arange(self.n, found.matrix.shape[1])])
        matrix = found.matrix[:, columns]
        return Combination(
            matrix[self.order] if len(matrix) == self.n else matrix,
            None if found.scores is None else found.scores[self.order],
            None if found.selected is None else tuple(int(place[i]) for i in found.selected),
        )

    def beside(self, vectors: Sequence[Array]) -> View:
        """The same rows and anchors, and below them these (d,) deltas to the origin, as further anchors."""
        found, k = copy.copy(self), len(vectors)
        found.updates, found.anchors = self.updates.append(vectors), self.anchors + k
        found._gram = found.limits = None
        if self.matrix is not None:
            found.matrix = np.block([[self.matrix, np.zeros((len(self.matrix), k))], [np.zeros((k, self.matrix.shape[1])), np.eye(k)]])
        return found

    @property
    def norms(self) -> Array:
        """(n,) norms of the deltas to the origin: one cheap pass where no stage reads the Gram matrix."""
        if self._source is not None:
            return np.asanyarray(self._source.norms[np.argsort(self.order)])
        return self._lengths(self.updates.sq_norms, np.diag)

    def distances_to(self, i: int) -> Array:
        """(n,) distances to row i, anchors counted from n: one cheap pass where no stage reads the Gram matrix."""
        return self._lengths(partial(self.updates.sq_distances_to, i), lambda G: sq_distances(G)[i])

    def _lengths(self, one_pass: Callable[[], Array], of_gram: Callable[[Array], Array]) -> Array:
        """(n,) square roots of what one pass over the updates gives, where that will do, or of what the Gram matrix says."""
        if self._gram is None and self.matrix is None and self.limits is None and not self._reads_gram:
            squares = one_pass()
            self.limits = self.updates.limits(squares)
            if self.limits is None:
                return np.asanyarray(np.sqrt(squares[: self.n]))
        return np.asanyarray(np.sqrt(np.maximum(of_gram(self.gram)[: self.n], 0.0)))

    @property
    def layout(self) -> Layout:
        """The model's arrays; one of all coordinates where nobody has said more."""
        return self.server.layout or Layout.of(None, self.updates.d)

    @property
    def unit(self) -> float:
        """What norms, distances, inner products and values are measured in: 1 for updates of any ordinary size."""
        return 1.0 if self.limits is None else self.limits.unit

    @property
    def gram(self) -> Array:
        """(n + anchors, n + anchors) Gram matrix, computed at its first use."""
        if self._source is not None:
            full = np.concatenate([np.argsort(self.order), np.arange(self.n, self.n + self.anchors)])
            return np.asanyarray(self._source.gram[np.ix_(full, full)])
        if self._gram is None:
            G = self._gram_of_updates()
            self._gram = G if self.matrix is None else _congruent(self.matrix, G)
        return self._gram

    def _gram_of_updates(self) -> Array:
        if self.limits is None:
            G = self.updates.gram(self._centred)
            self.limits = self.updates.limits(np.diag(G))
            if self.limits is None:
                return G
        return self.updates.gram(self._centred, self.limits.scale)

    def at(self, coordinates: Array) -> Array:
        """(n, len(coordinates)) float64 values of the rows at ascending coordinates, in units of `unit`."""
        values = self.updates.at(coordinates)
        if self.limits is None and self._gram is None:
            self.limits = self.updates.limits(_sq_peaks(values))
        if self.limits is not None:
            values = self.limits.scale[:, None] * values
        return values[: self.n] if self.matrix is None else (self.matrix @ values)[: self.n]

    def push(self, M: Array) -> None:
        """Let `M @ rows` be the rows from here on; the anchors stay."""
        width = self.n + self.anchors
        full = self.updates.numbers(np.zeros((len(M) + self.anchors, width)))
        full[: len(M), : M.shape[1]] = M
        full[len(M) :, self.n :] = np.eye(self.anchors)
        self._gram = None if self._gram is None else _congruent(full, self._gram)
        self.matrix = full if self.matrix is None else full @ self.matrix
        self.n = len(M)

    @property
    def rows(self) -> Array | None:
        """The matrix that makes the rows from the updates as they came, without the anchors."""
        if self.matrix is None:
            return None
        return self.matrix[: self.n] if self.limits is None else self.matrix[: self.n] * self.limits.factors


def sq_distances_between(updates: Updates) -> Array:
    """(n, n) squared distances between updates, as a rule sees them."""
    view = View(updates, (), State())
    return sq_distances(view.gram) * view.unit * view.unit


def rows_of(view: View) -> Array:
    """(n, d) float64 rows, a copy; one longer than 1e75 counts as one of that length, so that no square overflows."""
    rows = view.at(np.arange(view.updates.d))
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(rows, axis=1) * view.unit
    view.short = np.minimum(1.0, HUGE / np.maximum(lengths, HUGE))
    return np.asanyarray(rows * (view.unit * view.short)[:, None])


def counted(view: View, factors: Array) -> Array:
    """(n,) factors of the rows of `rows_of`, as factors of the rows before these were cut to what counts of them."""
    whole = factors if view.short is None else factors * view.short
    return whole if view.limits is None else whole * view.limits.factors[: view.n]


def node_ids(nodes: Any, n: int) -> list[int]:
    """Who sent each of n rows: the rows' numbers where nobody says.

    Raises:
        MalformedUpdate: these are not n different integers from 0 to 2^64 - 1.

    Example:
        >>> node_ids(None, 2), node_ids([7, 5], 2)
        ([0, 1], [7, 5])
    """
    if nodes is None:
        return list(range(n))
    ids = list(nodes)
    if not all(isinstance(node, int | np.integer) and not isinstance(node, bool) and 0 <= int(node) < 1 << 64 for node in ids):
        raise MalformedUpdate(f"nodes must be integers from 0 to 2^64 - 1, one for each row, got {nodes!r}")
    if len(ids) != n or len(set(ids)) != n:
        raise MalformedUpdate(f"nodes must be {n} different integers, one for each row, got {len(ids)}, {len(set(ids))} of them different")
    return [int(node) for node in ids]


def server_of(d: int, trusted: Any = None, loss: Any = None, predict: Any = None, layout: Any = None) -> Server:
    """What the caller says that the server has, checked against updates of d coordinates.

    Raises:
        MalformedUpdate: `trusted` is no finite vector of d values.
        InvalidParameter: the layout is not of d coordinates, or a function is none.
    """
    for name, function in (("loss", loss), ("predict", predict)):
        if function is not None and not callable(function):
            raise InvalidParameter(f"{name} must be a function of a (d,) delta of the model, got {function!r}")
    own = None if trusted is None else vector(trusted, d)
    return Server(own, loss, predict, None if layout is None else Layout.of(layout, d))


def vector(value: Any, d: int) -> Array:
    """`value` as a finite (d,) float64 vector."""
    rows, _ = wrap([value])
    found: Array = rows.blocks[0].rows[0].astype(np.float64)
    if len(found) != d or not np.isfinite(found).all():
        raise MalformedUpdate(f"trusted must be a finite vector of {d} values like the updates, got {len(found)}")
    return found


def _congruent(M: Array, G: Array) -> Array:
    """The Gram matrix M G Mᵀ of `M @ rows`, exactly symmetric."""
    product = M @ G @ M.T
    return np.asanyarray((product + product.T) / 2)


def _sq_peaks(values: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asanyarray(np.abs(values).max(axis=1, initial=0.0) ** 2)


def _anchor(name: str, state: State, d: int, trusted: Array | None) -> Array:
    if name == "previous":
        return state.arrays.get(name, np.zeros(d))
    if trusted is None:
        raise InvalidParameter("this rule trusts one update of the server's own: pass it as trusted=, a vector like the updates")
    return trusted
