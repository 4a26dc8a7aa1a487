"""How long a round took, and how long each node took to answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flwr_byzantine.strategy.report import RoundReport

DIGITS = 3  # of a second


class Timing:
    """The clock of the round that is under way.

    Attributes:
        answered: node id -> seconds from the sending of the model to its reply, where replies are taken one by one.
        staleness: node id -> rounds between the model that it was sent and the round's, where rounds are buffers.
    """

    def __init__(self) -> None:
        self.answered: Mapping[int, float] = {}
        self.staleness: Mapping[int, int] = {}
        self._begun: float | None = None
        self._complete: float | None = None

    def begin(self) -> None:
        """A round begins."""
        self.answered, self.staleness, self._begun, self._complete = {}, {}, time.monotonic(), None

    def complete(self) -> None:
        """All replies that will be there are there."""
        self._complete = time.monotonic()

    def stamped(self, report: RoundReport) -> RoundReport:
        """The report with the times that are known."""
        now = time.monotonic()
        seconds, arithmetic = (None if since is None else round(now - since, DIGITS) for since in (self._begun, self._complete))
        nodes = {node: replace(entry, **own) if (own := self._of(node)) else entry for node, entry in report.nodes.items()}
        return replace(report, nodes=nodes, seconds=seconds, arithmetic=arithmetic, ended=round(time.time(), DIGITS))

    def _of(self, node: int) -> dict[str, Any]:
        seconds = {"seconds": round(self.answered[node], DIGITS)} if node in self.answered else {}
        return {**seconds, **({"staleness": self.staleness[node]} if node in self.staleness else {})}
