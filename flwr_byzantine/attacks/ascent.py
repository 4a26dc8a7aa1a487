"""Ascent: Byzantine updates B are moved as long as the damage to the server's rule grows.

The steps go along gradients. A selecting rule rejects what goes too far, so that the damage drops to nothing just beyond
where it is greatest; there a gradient points to the wrong side of the edge, and steps along many directions are tried,
with all distances from the honest mean a little longer or shorter.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.simulated_rule import SimulatedRule

STRETCHES = (1.0, 1.05, 0.95, 1.2, 0.8)  # factors on the distances from the honest mean, tried after each step along a direction
SHORTEST, LONGEST = 0.03, 8.0  # of a step, in units of the spread of the honest updates


def climb(server: SimulatedRule, bad: Array, damage: float, evals: int) -> tuple[float, Array]:
    """Ascent on the damage.

    Args:
        server: the simulated rule.
        bad: (f, d) updates to start from.
        damage: what they do.
        evals: how often the rule may be tried, about.

    Returns:
        The greatest damage found, and the (f, d) updates that do it.
    """
    directions = honest_directions(server.honest)
    found = server.compressed(bad, directions) if evals else None
    if found is None:
        return _Ascent(server, bad, damage, directions, evals).run()
    up = found.span.lifted(_Ascent(found.server, found.bad, damage, found.directions, evals).run()[1])
    near = [server.mean + shrunk * (up - server.mean) for shrunk in (1.0, 0.9999, 0.999, 0.99)]  # rounding may have put B beyond the edge
    return max([(damage, bad), *((server.damage(found), found) for found in near)], key=lambda item: item[0])


class _Ascent:
    """The best updates so far, and how many trials are left."""

    def __init__(self, server: SimulatedRule, bad: Array, damage: float, directions: Array, evals: int) -> None:
        self.server, self.bad, self.damage, self.directions, self.evals = server, bad, damage, directions, evals
        self.scale = server.spread

    def run(self) -> tuple[float, Array]:
        """Damage and updates when the trials are used up, or the steps are too small."""
        step = 1.0
        while self.evals > 0 and step > SHORTEST:
            step = min(2 * step, LONGEST) if self.gradient_step(step) or self.side_step(step) else step / 2
        return self.damage, self.bad

    def gradient_step(self, step: float) -> bool:
        """A step along the finite-difference gradient over the moves, then a half and a quarter of it; whether one of them helped."""
        moves = self._moves()
        slopes = np.array([self._value(self.bad + 1e-3 * move) for move in moves]) - self.damage
        norm = float(np.linalg.norm(slopes))
        uphill = np.tensordot(slopes / norm, moves, axes=1) if norm > 0 else 0.0 * moves[0]
        return norm > 0 and any(self._try(self.bad + length * uphill) for length in (step, step / 2, step / 4))

    def side_step(self, step: float) -> bool:
        """Every move is tried in both directions, and then what they led to altogether once more, as long as it helps; whether one did."""
        start = self.bad
        better = any([any(self._try_any(self._stretched(self.bad + sign * step * move)) for sign in (1, -1)) for move in self._moves()])
        change, again = self.bad - start, better
        while again:
            again = self._try_any(self._stretched(self.bad + change))
        return better

    def _stretched(self, bad: Array) -> Iterator[Array]:
        mean = self.server.mean
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
        return self.server.damage(bad)

    def _moves(self) -> Array:
        """(k, f, d) moves, as long as the spread of the honest updates: the same for all attackers, then opposite for every second one.

        Where there is no direction to move in, as among honest updates that are all zero, or that are no numbers: one move by nothing.
        """
        shift, f = self.server.shift(self.bad), len(self.bad)
        common = np.array([shift, self.bad.mean(axis=0) - self.server.mean, *self.directions])
        lengths = np.linalg.norm(common, axis=1)
        units = self.scale * common[lengths > 0] / lengths[lengths > 0, None]
        if not len(units):
            return np.zeros((1, *self.bad.shape))
        apart = np.where(np.arange(f) % 2, -1.0, 1.0)[:, None]
        alike = np.repeat(units[:, None], f, axis=1)
        return alike if f == 1 else np.concatenate([alike, units[[0, -1], None] * apart])


def honest_directions(honest: Array) -> Array:
    """(k <= 8, d) mean of the honest updates, their standard deviation, the signs of the mean, and up to five principal directions."""
    mean = honest.mean(axis=0)
    centred = honest - mean
    _, vectors = np.linalg.eigh(centred @ centred.T)
    return np.array([mean, honest.std(axis=0), np.sign(mean), *(vectors[:, ::-1].T[:5] @ centred)])
