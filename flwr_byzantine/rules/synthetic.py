"""A pre-aggregation that adds rows of the server's own making."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.window import Window
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.families import PreAggregation
from flwr_byzantine.rules.results import Combination
from flwr_byzantine.rules.view import View


@dataclass(frozen=True)
class FoundationFL(PreAggregation):
    """Adds m copies of the row that is farthest from the extremes: before the trimmed mean or the median. Needs n >= 1.

    The extremes are the greatest and the least value of each coordinate; the row has the largest distance to the nearer of both.

    Convention: f of the rule behind it counts the clients, as the authors' b. Colluders at both extremes at once, each huge in some
    coordinates and hugely negative in others, are copied: it is no guarantee.

    Args:
        m: how many copies; None takes ⌊n/2⌋, one at least.

    Source: Fang, Nabavirazavi, Liu, Sun, Iyengar, Yang, NDSS 2025.

    Example:
        >>> from flwr_byzantine import rules
        >>> rules.chain(FoundationFL(m=2), rules.Median(f=1))([[1.0], [2.0], [9.0]]).tolist()
        [2.0]
    """

    m: int | None = param(None, ge=1, optional=True)
    robust: ClassVar[bool] = False
    cost: ClassVar[str] = "n log(n) d"
    uses_gram: ClassVar[bool] = False
    reference: ClassVar[str] = "Fang, Nabavirazavi, Liu, Sun, Iyengar, Yang, NDSS 2025"

    def rows(self, n: int) -> int:
        """N + m."""
        return n + (self.m or max(n // 2, 1))

    def mix(self, view: View) -> Combination:
        """The identity, and m times one of its rows."""
        n = view.n
        extremes = [view.updates.windows(Window(rank, rank + 1), view.rows) for rank in (0, n - 1)]
        seen = view.beside([view.updates.deltas(blocks) for blocks in extremes])
        near = np.min([seen.distances_to(n + view.anchors + k) for k in range(2)], axis=0)
        copies = [int(np.argmax(near))] * (self.rows(n) - n)
        return Combination(np.eye(n)[[*range(n), *copies]], -near)
