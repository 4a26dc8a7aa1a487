"""Figures by matplotlib that fit wide and narrow screens, and are dark where the screen is."""

from __future__ import annotations

import base64
import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr_byzantine.declare.extras import needed_by
from flwr_byzantine.flower.words import printable
from flwr_byzantine.monitor.show.colours import INK, LINE, PAPER, QUIET, picture_rules

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 11.5, 3.75  # inches that a picture has on a desk's and on a telephone's page, at 96 pixels an inch
LONGEST_LABEL = 80  # characters of a name in a figure
RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.hashsalt": "flwr-byzantine",
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "legend.edgecolor": LINE,
    "patch.edgecolor": INK,
    "grid.alpha": 0.6,
}
"""Draw within `matplotlib.rc_context(RC)`."""


@dataclass(frozen=True)
class Drawing:
    """A figure with its place on a page.

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


@dataclass(frozen=True)
class Picture:
    """A drawn figure as the page shows it; `parts.html.j2` has the macro.

    Attributes:
        name: of its files.
        section: heading it belongs under.
        caption: below it.
        svg: the file.
        label: what tells it from the other figures of its section.
        narrow: the same for screens of a telephone's width; empty where the other fits.
    """

    name: str
    section: str
    caption: str
    svg: bytes
    label: str = ""
    narrow: bytes = b""

    @property
    def uri(self) -> str:
        """The figure as a data URI."""
        return _uri(self.svg)

    @property
    def narrow_uri(self) -> str:
        """The narrow figure as a data URI."""
        return _uri(self.narrow)


def _uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def save(drawing: Drawing, out: Path, narrow: Drawing | None = None) -> Picture:
    """Write a figure as PNG, in light colours for print, and as SVG; the picture holds the SVG, and that of `narrow`."""
    svg = svg_of(drawing.figure)
    with any_letters():
        drawing.figure.savefig(out / f"{drawing.name}.png", dpi=150)
    (out / f"{drawing.name}.svg").write_bytes(svg)
    return Picture(drawing.name, drawing.section, drawing.caption, svg, drawing.label, svg_of(narrow.figure) if narrow else b"")


@contextmanager
def in_style() -> Iterator[None]:
    """While drawing: the style of all pictures.

    Raises:
        MissingExtra: matplotlib is missing; one sentence says what brings it.
    """
    with needed_by("report"):
        import matplotlib as mpl

    with mpl.rc_context(RC):
        yield


@contextmanager
def any_letters() -> Iterator[None]:
    """While drawing: a letter that the font lacks is an empty box, and no warning; names may be anybody's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


_PATHS = re.compile(rb' d="[^"]*"')


def svg_of(figure: Figure) -> bytes:
    """A figure as SVG, the same bytes each time, which is dark on a dark screen, as a file and as `img`."""
    import matplotlib as mpl

    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": RC["svg.hashsalt"]}), any_letters():
        figure.draw_without_rendering()  # lays it out, once for all formats
        figure.set_layout_engine("none")
        figure.savefig(stream, format="svg", metadata={"Date": None})
    head, mark, body = _PATHS.sub(_rounded, stream.getvalue()).partition(b"<defs>")
    return head + f"<style>{picture_rules()}</style>\n ".encode() + mark + body


def _rounded(path: re.Match[bytes]) -> bytes:
    """A path of an SVG rounded to a hundredth of a point, which halves the file and cannot be seen."""
    return re.sub(rb"(\.\d\d)\d+", rb"\1", path.group())


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


def panels(
    count: int, room: float, width: float, height: float, margin: tuple[float, float] = (0.0, 0.0), below: str = ""
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels that share their axes, as many in a row as there is room for.

    Args:
        count: panels.
        room: inches that the figure may be wide, `WIDE` or `NARROW`.
        width: of one panel, in inches.
        height: of one panel, in inches.
        margin: inches to add for what stands beside and below all panels.
        below: label of the horizontal axis, below the lowest panels.
    """
    from matplotlib.figure import Figure as New

    columns = columns_for(count, max(1, int((room - margin[0]) / width)))
    rows = math.ceil(count / columns)
    size = (min(room, columns * width + margin[0]), rows * height + margin[1])
    figure = New(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for surplus in axes[count:]:
        surplus.remove()
    for axis in axes[max(0, count - columns) : count]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel(below)
    return figure, axes[:count]
