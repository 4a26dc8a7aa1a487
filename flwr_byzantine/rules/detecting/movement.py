"""How the model has moved in the last rounds, and how the aggregate answered: Hessian products by L-BFGS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flwr_byzantine.arrays.geometry import HUGE
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.rules.view import View

NOTHING = 1e-100  # of the longest step is no step: its square would be zero


def origin_of(view: View) -> Array | None:
    """(d,) float64 broadcast model, or None where rows are measured from zero."""
    blocks = getattr(view.updates, "blocks", [])
    if not blocks or any(block.origin is None for block in blocks):
        return None
    return np.concatenate([np.asarray(block.origin, np.float64) for block in blocks])


def step_of(arrays: Mapping[str, Array], view: View) -> Array | None:
    """(d,) how the model moved since the last round: by the broadcast models, or where there are none by the last aggregate."""
    model = origin_of(view)
    if model is not None and "model" in arrays:
        return limited(model - arrays["model"])
    previous = view.state.arrays.get("previous") if "steps" in arrays else None
    return None if previous is None else limited(previous)


@dataclass(frozen=True)
class Movement:
    """The last steps of the model, oldest first.

    Attributes:
        steps: (k, d) of the rounds up to this one, one more than changes at most count.
        changes: (p, d) what the aggregate changed by, from each of the p steps before the last to the next.
        aggregate: (d,) the last one, or None in the first round.
        model: (d,) the broadcast one, or None where it is not known.
    """

    steps: Array
    changes: Array
    aggregate: Array | None
    model: Array | None

    @classmethod
    def of(cls, arrays: Mapping[str, Array], view: View, window: int) -> Movement:
        """This round's, from the arrays that the last round's left."""
        d = view.updates.d
        steps, changes = arrays.get("steps", np.zeros((0, d))), arrays.get("changes", np.zeros((0, d)))
        step, aggregate = step_of(arrays, view), view.state.arrays.get("previous") if "steps" in arrays else None
        if step is not None:
            steps = np.concatenate([steps, step[None]])[-window - 1 :]
        if aggregate is not None and "aggregate" in arrays:
            changes = np.concatenate([changes, limited(aggregate - arrays["aggregate"])[None]])[-window:]
        return cls(steps, changes, aggregate, origin_of(view))

    def arrays(self) -> dict[str, Array]:
        """All of it by name."""
        named = {"steps": self.steps, "changes": self.changes, "aggregate": self.aggregate, "model": self.model}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def length(self) -> int:
        """How many rounds back the way is known."""
        return len(self.steps)

    def change(self, rounds: int) -> Array:
        """(d,) how an update is expected to change over the way of the last rounds."""
        way = self.steps[len(self.steps) - rounds :].sum(axis=0)
        pairs = len(self.changes)
        return hessian_product(self.steps[len(self.steps) - 1 - pairs : len(self.steps) - 1], self.changes, way)


def hessian_product(steps: Array, changes: Array, v: Array) -> Array:
    """(d,) product of v with the L-BFGS approximation of a Hessian.

    Args:
        steps: (k, d) steps s, oldest first.
        changes: (k, d) changes y of the gradient along them.
        v: (d,).

    Source: Byrd, Nocedal, Schnabel, Mathematical Programming 1994, Theorem 2.3.

    Example:
        >>> hessian_product(np.array([[1.0, 0.0]]), np.array([[2.0, 0.0]]), np.array([1.0, 1.0])).tolist()
        [2.0, 2.0]
    """
    lengths = np.abs(steps).max(axis=1, initial=0.0)
    moved = lengths > lengths.max(initial=0.0) * NOTHING
    S, Y = steps[moved], changes[moved]
    if not len(S):
        return np.zeros_like(v)
    unit, rise = np.abs(S).max(), np.abs(Y).max() or 1.0
    S, Y = S / unit, Y / rise  # the product is linear in Y, and in v measured in units of S
    sigma = float(Y[-1] @ S[-1]) / float(S[-1] @ S[-1])
    SY = S @ Y.T
    L = np.tril(SY, -1)
    middle = np.block([[sigma * S @ S.T, L], [L.T, -np.diag(np.diag(SY))]])
    with np.errstate(over="ignore", invalid="ignore"):
        w = v / unit
        sides = np.concatenate([sigma * (S @ w), Y @ w])
        product = sigma * w - np.concatenate([sigma * S, Y]).T @ np.linalg.lstsq(middle, sides, rcond=None)[0]
        return limited(product * rise)


def limited(vector: Array) -> Array:
    """The vector, finite and no longer than 1e75."""
    finite = np.nan_to_num(vector, nan=0.0, posinf=HUGE, neginf=-HUGE)
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(finite))
    return np.asarray(finite if length <= HUGE else np.clip(finite, -HUGE, HUGE) / np.sqrt(len(finite)))
