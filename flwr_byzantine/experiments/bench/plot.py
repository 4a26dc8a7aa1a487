"""A picture of the times that the benchmark measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flwr_byzantine.experiments.bench.runner import OURS, Measurement, Size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#08519c", "#d95f02", "#1b9e77", "#7570b3")
MOST_COLUMNS = 4


def plot(measured: Sequence[Measurement], contestants: Sequence[str], path: Path) -> None:
    """Write times of each rule as bars on a logarithmic scale, one panel a size."""
    from matplotlib.figure import Figure

    sizes = list(dict.fromkeys(item.size for item in measured))
    names = list(dict.fromkeys(item.rule for item in measured))
    columns, lines = min(MOST_COLUMNS, len(sizes)), -(-len(sizes) // MOST_COLUMNS)
    figure = Figure(figsize=(4.2 * columns + 1.5, lines * (0.34 * len(names) + 0.8) + 0.8), layout="constrained")
    panels = list(figure.subplots(lines, columns, sharey=True, squeeze=False).flat)
    for panel, size in zip(panels, sizes, strict=False):
        _bars(panel, [item for item in measured if item.size == size], size, names, [OURS, *contestants])
    for panel in panels[len(sizes) :]:
        panel.remove()
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=1 + len(contestants), frameon=False)
    figure.savefig(path, dpi=110 if len(sizes) < 5 else 60)


def _bars(panel: Axes, measured: Sequence[Measurement], size: Size, names: Sequence[str], everyone: Sequence[str]) -> None:
    for shift, (who, colour) in enumerate(zip(everyone, COLOURS, strict=False)):
        times = {item.rule: 1e3 * item.timing.seconds for item in measured if item.contestant == who and item.timing.seconds}
        places = [names.index(rule) + (shift - 1.5) * 0.2 for rule in times]
        panel.barh(places, list(times.values()), height=0.2, color=colour, label=who)
    panel.set(title=str(size), xscale="log", xlabel="milliseconds")
    panel.set_yticks(range(len(names)), names)
    panel.grid(axis="x", alpha=0.3)
