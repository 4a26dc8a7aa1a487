"""Rules that make each coordinate of the aggregate from that coordinate of all rows, other than by a window of the sorted values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import SAMPLE
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules import influence
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.results import Reduced
from flwr_byzantine.rules.view import View


class Columnwise(Rule):
    """A rule that maps each column of n deltas to the origin to one value."""

    def column(self, rows: Array) -> Array:
        """(c,) values, as deltas to the origin, from (n, c) float64 deltas."""
        raise NotImplementedError  # every final rule defines it

    def owners(self, rows: Array) -> Array:
        """(n, c) whether the value of (n, c) deltas is a row's own doing."""
        raise NotImplementedError  # every final rule defines it

    def reduced(self, view: View, n: int) -> Reduced:
        """All coordinates; influence from evenly spaced ones."""
        some = view.at(np.arange(0, view.updates.d, max(1, -(-view.updates.d // SAMPLE))))
        counts = self.owners(some).sum(axis=1)
        owned = influence.shares(counts if view.rows is None else np.abs(counts @ view.rows)[:n])
        return Reduced(view.updates.columns(self.column, view.rows), None, owned)


@dataclass(frozen=True)
class SignSGD(Columnwise):
    """Majority vote of signSGD: in each coordinate the sign that more rows have, times η; 0 where both have as many.

    Convention: signs of the deltas to the broadcast model; a row with 0 there does not vote. The result is a direction, and its length
    is η alone: under `ByzantineSGD` leave `eta` at 1, its `step_size` is the paper's learning rate. Where clients send models,
    `eta` is how far each coordinate moves in a round; the strategies take 0.001.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1. Only this condition uses it, the rule does not.
        eta: η, what the signs are multiplied by.

    Source: Bernstein, Zhao, Azizzadenesheli, Anandkumar, ICLR 2019.

    Example:
        >>> import numpy as np
        >>> SignSGD(f=1)(np.array([[0.5, -2.0], [0.1, -1.0], [-90.0, 90.0]])).tolist()
        [1.0, -1.0]
    """

    f: int = param(0, ge=0)
    eta: float = param(1.0, kind=float, gt=0)
    equivariant: ClassVar[bool] = False
    scales: ClassVar[bool] = False
    cost: ClassVar[str] = "nd"
    uses_gram: ClassVar[bool] = False
    reference: ClassVar[str] = "Bernstein, Zhao, Azizzadenesheli, Anandkumar, ICLR 2019"

    def column(self, rows: Array) -> Array:
        """The sign of the sum of signs, times η."""
        return np.asanyarray(self.eta * np.sign(np.sign(rows).sum(axis=0)))

    def owners(self, rows: Array) -> Array:
        """Those of the majority."""
        won = np.sign(np.sign(rows).sum(axis=0))
        return np.asanyarray((np.sign(rows) == won) & (won != 0))


@dataclass(frozen=True)
class FedRDF(Columnwise):
    """In each coordinate the value at which a Fourier series of the values' density is highest: a mode, and one row's own value.

    Convention: K harmonics of a period twice as long as the values' range, so that the ends do not meet; of values equally dense the
    (lower) middle one. The paper's text was not at hand: its abstract, and Flower's pull request #6044, say the weight of highest estimated
    density; period and K are chosen here. The strategy published first takes the value of rank ⌊n/2⌋ whatever the values are:
    select="index". Its switch to averaging tests whether a random third of the values differs from the others, which does not depend
    on the values where none are equal; it is left out.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1. Only this condition uses it, the rule does not.
        select: "density", or "index".
        harmonics: K.

    Source: Mármol Campos, González Vidal, Hernández Ramos, Skarmeta, IEEE TETC 2025. Density: Nanbu, Physical Review E 1995.

    Example:
        >>> import numpy as np
        >>> FedRDF(f=1)(np.array([[1.0], [1.1], [1.2], [3.0], [90.0]])).tolist()
        [1.2]
    """

    f: int = param(0, ge=0)
    select: str = param("density", kind=str, choices=("density", "index"))
    harmonics: int = param(8, ge=1)
    cost: ClassVar[str] = "n log(n) d"
    uses_gram: ClassVar[bool] = False
    reference: ClassVar[str] = "Mármol Campos, González Vidal, Hernández Ramos, Skarmeta, IEEE TETC 2025"

    def obstacle(self) -> str:
        """The series."""
        why = 'sums a Fourier series, whose sines each processor rounds in its own way; select="index" has none'
        return why if self.select == "density" else ""

    def column(self, rows: Array) -> Array:
        """The value chosen."""
        ascending = np.sort(rows, axis=0)
        return np.asanyarray(np.take_along_axis(ascending, self._chosen(ascending)[None, :], axis=0)[0])

    def owners(self, rows: Array) -> Array:
        """Those that have the value."""
        return np.asanyarray(rows == self.column(rows))

    def _chosen(self, ascending: Array) -> Array:
        """(c,) ranks of the chosen values of (n, c) ascending ones."""
        if self.select == "index":
            return np.full(ascending.shape[1], len(ascending) // 2)
        reach = ascending[-1] / 2 - ascending[0] / 2  # halves: the range itself may overflow
        offset = (ascending / 2 - ascending[0] / 2) / np.where(reach > 0, reach, 1.0)  # 0 to 1
        turn, power, density = np.exp(1j * np.pi * offset), np.ones_like(offset, complex), np.zeros_like(offset)
        for _ in range(self.harmonics):
            power = power * turn
            density += (power * np.conj(power.mean(axis=0))).real
        tied = np.cumsum(density >= density.max(axis=0) - 1e-9, axis=0)  # far outliers leave the others alike but for rounding
        return np.asanyarray((tied >= (tied[-1] + 1) // 2).argmax(axis=0))
