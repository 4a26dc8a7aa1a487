"""A matrix of percentages as coloured fields with their numbers, in blocks one below the other where the columns are many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flwr_byzantine.monitor.show.colours import ON_DARK, ON_LIGHT, PAPER, QUIET, VOID
from flwr_byzantine.monitor.show.figures import NARROW, columns_for, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD, BAD = "viridis", "YlOrRd"
LETTER = 0.075  # inches of a letter beside an axis
LINE_HEIGHT = 0.14
COLOUR_BAR = 0.7  # inches that it takes; a narrow figure has none, since every field has its number
SIDE_BY_SIDE = 8  # characters of a column's label that need not be turned


def matrix(data: np.ndarray, rows: Sequence[str], columns: Sequence[str], colours: str, room: float, apart: bool = False) -> Figure:
    """A figure of one matrix.

    Args:
        data: percentages, rows × columns; NaN where there is no number.
        rows: their names.
        columns: their names.
        colours: of matplotlib's colour maps.
        room: inches that the figure may be wide.
        apart: whether the last column is set apart.
    """
    from matplotlib.figure import Figure as New

    small = room <= NARROW
    rows, columns = [wrapped(name, 18 if small else 30) for name in rows], [wrapped(name, 28 if small else 40) for name in columns]
    left, cell = LETTER * _longest(rows) + 0.3, 0.4 if small else 0.72
    across = columns_for(len(columns), max(3, int((room - left - (0 if small else COLOUR_BAR)) / cell)))
    blocks = [slice(start, start + across) for start in range(0, len(columns), across)]
    high = sum(max(0.24, LINE_HEIGHT * (1 + name.count("\n")) + 0.1) for name in rows)
    size = (min(room, left + cell * across + (0 if small else COLOUR_BAR)), len(blocks) * (high + _label_height(columns, small) + 0.25))
    figure = New(figsize=size, layout="constrained")
    axes = figure.subplots(len(blocks), 1, squeeze=False)[:, 0]
    for axis, block in zip(axes, blocks, strict=True):
        image = draw(axis, data[:, block], rows, columns[block], colours, 8 if small else 9)
        axis.set_xlim(-0.5, across - 0.5)
        _turn(axis, columns, columns[block], small)
    if apart:
        axes[-1].axvline(len(columns[blocks[-1]]) - 1.5, color=PAPER, linewidth=6)
        axes[-1].get_xticklabels()[-1].set_fontweight("bold")
    if not small:
        figure.colorbar(image, ax=list(axes), label="%", shrink=0.85, pad=0.02)
    return figure


def _longest(names: Sequence[str]) -> int:
    return max(len(line) for name in names for line in name.split("\n"))


def _label_height(columns: Sequence[str], small: bool) -> float:
    longest = _longest(columns)
    return LETTER * longest * (1 if small else math.sin(math.radians(35))) + 0.2 if longest > SIDE_BY_SIDE or small else 0.25


def _turn(axis: Axes, every: Sequence[str], columns: Sequence[str], small: bool) -> None:
    """Turn the labels of columns where any of the figure's is long, upright in a narrow figure."""
    if small:
        axis.set_xticks(range(len(columns)), columns, rotation=90, fontsize=8)
        axis.tick_params(axis="y", labelsize=8)
    elif _longest(every) > SIDE_BY_SIDE:
        axis.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")


def draw(axis: Axes, data: np.ndarray, rows: Sequence[str], columns: Sequence[str], cmap: str = GOOD, size: float = 9) -> Any:
    """An annotated matrix of percentages between 0 and 100; grey without a number."""
    from matplotlib import colormaps

    colours = colormaps[cmap].with_extremes(bad=(0, 0, 0, 0))
    image = axis.imshow(np.ma.masked_invalid(data), cmap=colours, vmin=0, vmax=100, aspect="auto")
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    for (i, j), value in np.ndenumerate(data):
        _field(axis, i, j, value, colours, size)
    return image


def _field(axis: Axes, i: int, j: int, value: float, colours: Any, size: float) -> None:
    from matplotlib.patches import Rectangle

    if not np.isfinite(value):
        axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=VOID, linewidth=0))
        axis.text(j, i, "–", ha="center", va="center", fontsize=size, color=QUIET)
        return
    red, green, blue, _ = colours(value / 100)
    dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.45
    axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=size, color=ON_DARK if dark else ON_LIGHT)
