"""`View`: what a mixing rule sees of the updates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.rules.results import Mix, State


class Stage(Protocol):
    """What a view must know of the mixing rules of a chain."""

    @property
    def equivariant(self) -> bool:
        """Whether the place of the origin does not matter."""

    @property
    def anchors(self) -> tuple[str, ...]:
        """Names of extra rows."""


class View:
    """The rows that a mixing stage sees: the updates, mixed by the stages before it, then the anchors."""

    def __init__(
        self, updates: Updates, stages: Sequence[Stage], state: State, seed: int, reference: Array | None = None, order: Array | None = None
    ) -> None:
        self.order = np.arange(updates.n) if order is None else order
        self.state, self.rng = state, np.random.default_rng([seed, state.round])
        names = [name for stage in stages for name in stage.anchors]
        self.updates = updates.append([_anchor(name, state, updates.d, reference) for name in names]) if names else updates
        self.anchors, self.n = len(names), updates.n
        self.matrix: Array | None = None
        self._centred = all(stage.equivariant for stage in stages)
        self._gram: Array | None = None
        self._source: View | None = None  # what this one reorders

    def by_position(self, mix: Callable[[View], Mix]) -> Mix:
        """`mix` of this view with the rows as the caller gave them, so that ties go to the first of them; its answer in our order."""
        if self.n != len(self.order):
            return mix(self)
        place, given = np.argsort(self.order), copy.copy(self)
        given._source = self
        found = mix(given)
        columns = np.concatenate([self.order, np.arange(self.n, found.matrix.shape[1])])
        matrix = found.matrix[:, columns]
        return Mix(
            matrix[self.order] if len(matrix) == self.n else matrix,
            None if found.scores is None else found.scores[self.order],
            None if found.selected is None else tuple(int(place[i]) for i in found.selected),
        )

    @property
    def norms(self) -> Array:
        """(n,) norms of the deltas to the origin: one cheap pass where the Gram matrix is not there yet."""
        if self._source is not None:
            return np.asarray(self._source.norms[np.argsort(self.order)])
        if self._gram is None and self.matrix is None:
            return np.asarray(np.sqrt(self.updates.sq_norms()[: self.n]))
        return np.asarray(np.sqrt(np.maximum(np.diag(self.gram)[: self.n], 0.0)))

    def distances_to(self, i: int) -> Array:
        """(n,) distances to row i, anchors counted from n: one cheap pass where the Gram matrix is not there yet."""
        if self._gram is None and self.matrix is None:
            return np.asarray(np.sqrt(self.updates.sq_distances_to(i)[: self.n]))
        return np.asarray(np.sqrt(sq_distances(self.gram)[i, : self.n]))

    @property
    def gram(self) -> Array:
        """(n + anchors, n + anchors) Gram matrix, computed at its first use."""
        if self._source is not None:
            full = np.concatenate([np.argsort(self.order), np.arange(self.n, self.n + self.anchors)])
            return np.asarray(self._source.gram[np.ix_(full, full)])
        if self._gram is None:
            self._gram = self.updates.gram(self._centred)
            if self.matrix is not None:
                self._gram = self.matrix @ self._gram @ self.matrix.T
        return self._gram

    def at(self, coordinates: Array) -> Array:
        """(n, len(coordinates)) float64 values of the rows at ascending coordinates."""
        values = self.updates.at(coordinates)
        return values[: self.n] if self.matrix is None else (self.matrix @ values)[: self.n]

    def push(self, M: Array) -> None:
        """Let `M @ rows` be the rows from here on; the anchors stay."""
        width = self.n + self.anchors
        full = np.zeros((len(M) + self.anchors, width))
        full[: len(M), : M.shape[1]] = M
        full[len(M) :, self.n :] = np.eye(self.anchors)
        self._gram = None if self._gram is None else full @ self._gram @ full.T
        self.matrix = full if self.matrix is None else full @ self.matrix
        self.n = len(M)

    @property
    def rows(self) -> Array | None:
        """The matrix that makes the rows, without the anchors."""
        return None if self.matrix is None else self.matrix[: self.n]


def vector(value: Any, d: int) -> Array:
    """`value` as a finite (d,) float64 vector."""
    rows, _ = wrap([value])
    found: Array = rows.blocks[0].rows[0].astype(np.float64)
    if len(found) != d or not np.isfinite(found).all():
        raise MalformedUpdate(f"reference must be a finite vector of {d} values like the updates, got {len(found)}")
    return found


def _anchor(name: str, state: State, d: int, reference: Array | None) -> Array:
    if name == "previous":
        return state.arrays.get(name, np.zeros(d))
    if reference is None:
        raise InvalidParameter("this rule trusts one update of the server's own: pass it as reference=, a vector like the updates")
    return reference
