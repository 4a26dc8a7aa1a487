"""Climbing: B moves where the damage to a rule grows, by gradients and, where those meet a wall, by trying directions.

A selecting rule rejects what goes too far, so that the damage falls off a cliff just where it is greatest. There a
gradient points over the edge; steps to the side, with all distances from the honest mean drawn in or let out a little,
follow it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.oracle import Oracle

STRETCHES = (1.0, 1.05, 0.95, 1.2, 0.8)  # of all distances from the honest mean, beside a step aside
SHORTEST, LONGEST = 0.03, 8.0  # step in units of the honest spread


def climb(oracle: Oracle, bad: Array, damage: float, evals: int) -> tuple[float, Array]:
    """Damage and (f, d) vectors after ascent from `bad`, which does `damage`, while `evals` trials of the rule last."""
    marks = landmarks(oracle.honest)
    found = oracle.compressed(bad, marks) if evals else None
    if found is None:
        return _Hill(oracle, bad, damage, marks, evals).climb()
    small, basis = found
    up = _Hill(small, bad @ basis.T, damage, marks @ basis.T, evals).climb()[1] @ basis
    near = [oracle.mean + shrunk * (up - oracle.mean) for shrunk in (1.0, 0.9999, 0.999, 0.99)]  # rounding may put B over the edge
    return max([(damage, bad), *((oracle.damage(found), found) for found in near)], key=lambda item: item[0])


class _Hill:
    """The best vectors so far."""

    def __init__(self, oracle: Oracle, bad: Array, damage: float, marks: Array, evals: int) -> None:
        self.oracle, self.bad, self.damage, self.landmarks, self.evals = oracle, bad, damage, marks, evals
        spread = np.sqrt(((oracle.honest - oracle.mean) ** 2).sum(axis=1).mean())
        self.scale = float(spread) or float(np.linalg.norm(oracle.mean)) or 1.0

    def climb(self) -> tuple[float, Array]:
        """Damage and vectors where trials or steps end."""
        step = 1.0
        while self.evals > 0 and step > SHORTEST:
            step = min(2 * step, LONGEST) if self.gradient_step(step) or self.side_step(step) else step / 2
        return self.damage, self.bad

    def gradient_step(self, step: float) -> bool:
        """Up along the finite-difference gradient in the space of the moves, in halves of `step` as long as it fails."""
        moves = self._moves()
        slopes = np.array([self._value(self.bad + 1e-3 * move) for move in moves]) - self.damage
        norm = float(np.linalg.norm(slopes))
        uphill = np.tensordot(slopes / norm, moves, axes=1) if norm > 0 else 0.0 * moves[0]
        return norm > 0 and any(self._try(self.bad + length * uphill) for length in (step, step / 2, step / 4))

    def side_step(self, step: float) -> bool:
        """One pass over the moves to either side, with all distances let out or drawn in; then the way they led again."""
        start = self.bad
        better = any([any(self._try_any(self._stretched(self.bad + sign * step * move)) for sign in (1, -1)) for move in self._moves()])
        way, again = self.bad - start, better
        while again:
            again = self._try_any(self._stretched(self.bad + way))
        return better

    def _stretched(self, bad: Array) -> Iterator[Array]:
        mean = self.oracle.mean
        return (bad if stretch == 1 else mean + stretch * (bad - mean) for stretch in STRETCHES)

    def _try_any(self, several: Iterator[Array]) -> bool:
        return self.evals > 0 and any(self._try(bad) for bad in several)

    def _try(self, bad: Array) -> bool:
        found = self._value(bad)
        better = found > self.damage + 1e-9 * abs(self.damage)
        if better:
            self.bad, self.damage = bad, found
        return better

    def _value(self, bad: Array) -> float:
        self.evals -= 1
        return self.oracle.damage(bad)

    def _moves(self) -> Array:
        """(k, f, d) directions, as long as the honest spread: for all attackers alike, then such as set them apart."""
        shift, f = self.oracle.shift(self.bad), len(self.bad)
        common = np.array([shift, self.bad.mean(axis=0) - self.oracle.mean, *self.landmarks])
        lengths = np.linalg.norm(common, axis=1)
        units = self.scale * common[lengths > 0] / lengths[lengths > 0, None]
        apart = np.where(np.arange(f) % 2, -1.0, 1.0)[:, None]
        alike = np.repeat(units[:, None], f, axis=1)
        return alike if f == 1 else np.concatenate([alike, units[[0, -1], None] * apart])


def landmarks(honest: Array) -> Array:
    """(≤ 8, d) directions that the honest rows give: mean, deviation, signs, and where they differ most."""
    mean = honest.mean(axis=0)
    centred = honest - mean
    _, vectors = np.linalg.eigh(centred @ centred.T)
    return np.array([mean, honest.std(axis=0), np.sign(mean), *(vectors[:, ::-1].T[:5] @ centred)])
