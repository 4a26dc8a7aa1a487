"""How the figures look: colours that colour-blind readers tell apart, one for each rule throughout a report."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flwr_byzantine.experiments.report.settings import describe
from flwr_byzantine.experiments.results import Setting
from flwr_byzantine.flower.words import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette without its yellow, which is too pale for lines on white. Source: Okabe, Ito, "Color Universal Design", 2008.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
MARKERS = ("", "o", "s", "^")
RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "grid.alpha": 0.3,
    "svg.hashsalt": "flwr-byzantine",
    "figure.facecolor": "white",
}
NAN_COLOUR = "#d9d9d9"
LONGEST_NAME = 100  # characters of a file's name
LONGEST_LABEL = 80  # characters of a name in a figure
ODD = re.compile(r"""[^A-Za-z0-9 .,_=+()\[\]"'-]""")  # what two names may differ in that one file name cannot show


@dataclass(frozen=True)
class Look:
    """A rule's colour, line and marker."""

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


def looks(rules: Sequence[str]) -> dict[str, Look]:
    """A look for each rule: seven colours, then the same with another line and marker."""
    laps = len(DASHES)
    return {
        rule: Look(PALETTE[i % len(PALETTE)], DASHES[i // len(PALETTE) % laps], MARKERS[i // len(PALETTE) % laps])
        for i, rule in enumerate(rules)
    }


@dataclass(frozen=True)
class Drawing:
    """A figure with its place in the report.

    Attributes:
        name: of its files.
        section: heading it belongs under.
        caption: a sentence or two below it.
        figure: matplotlib's.
        label: what tells it from the other figures of its section.
    """

    name: str
    section: str
    caption: str
    figure: Figure
    label: str = ""


def slug(text: str) -> str:
    """A file name of a setting: "f = 4, gamma = 0.33" becomes "f-4-gamma-0.33"; where much or odd characters are lost, with a hash."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")
    if len(name) <= LONGEST_NAME and not ODD.search(text):
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.sha256(text.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"


def file_name(kind: str, setting: Setting) -> str:
    """The name of a figure's files: what it shows, and of which setting."""
    return "-".join(filter(None, [slug(kind), slug(describe(setting))]))


def where(setting: Setting) -> str:
    """A setting as the end of a caption's sentence; empty where nothing varies."""
    return f"; {describe(setting)}" if setting else ""


def label(name: str) -> str:
    """A name beside an axis or in a legend: of a long one the beginning and the end."""
    return printable(name, LONGEST_LABEL)


def wrapped(text: str, width: int = 22) -> str:
    """Text, of a long one the beginning and the end, on lines of about `width` characters, broken after "+" and before options."""
    lines = [""]
    for part in re.findall(r"[^+ ]*[+ ]?", label(text)):
        if len(lines[-1]) + len(part.strip()) > width and lines[-1]:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def columns_for(count: int, most: int) -> int:
    """How many panels stand in a row: the least that needs no more rows than `most` would.

    Example:
        >>> [columns_for(count, 4) for count in (2, 4, 5, 8, 9, 13)]
        [2, 4, 3, 4, 3, 4]
    """
    return math.ceil(count / math.ceil(count / most))


def panels(count: int, columns: int, width: float, height: float, margin: tuple[float, float] = (0.0, 0.0)) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels that share their axes, in rows of at most `columns`.

    Args:
        count: panels.
        columns: most in a row.
        width: of one panel, in inches.
        height: of one panel, in inches.
        margin: inches to add for what stands beside and below all panels.
    """
    from matplotlib.figure import Figure as New

    columns = columns_for(count, columns)
    rows = math.ceil(count / columns)
    figure = New(figsize=(columns * width + margin[0], rows * height + margin[1]), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for surplus in axes[count:]:
        surplus.remove()
    for axis in axes[max(0, count - columns) : count]:
        axis.tick_params(labelbottom=True)
    return figure, axes[:count]
