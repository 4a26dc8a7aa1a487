"""One look for each name that is drawn as a line, the same in all pictures of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flwr_byzantine.monitor.show.colours import PALETTE

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
MARKERS = ("", "o", "s", "^")


@dataclass(frozen=True)
class Look:
    """Colour, line and marker."""

    colour: str
    line: Any
    marker: str

    def line_style(self, points: int) -> dict[str, Any]:
        """Arguments of `plot`; about six markers on a line."""
        return {
            "color": self.colour,
            "linestyle": self.line,
            "marker": self.marker,
            "markersize": 4,
            "markevery": max(1, points // 6),
            "linewidth": 1.6,
        }


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name: seven colours that colour-blind readers tell apart, then the same with another line and marker."""
    laps = len(DASHES)
    return {
        name: Look(PALETTE[i % len(PALETTE)], DASHES[i // len(PALETTE) % laps], MARKERS[i // len(PALETTE) % laps])
        for i, name in enumerate(names)
    }
