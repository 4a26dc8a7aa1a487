"""The picture: accuracy in the worst case against the share of attackers, a panel for each task."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flwr_byzantine.experiments.leaderboard.ranking import Leaderboard
from flwr_byzantine.monitor.show.colours import QUIET
from flwr_byzantine.monitor.show.figures import NARROW, WIDE, Drawing, label, panels, wrapped
from flwr_byzantine.monitor.show.looks import looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flwr_byzantine.experiments.leaderboard.tasks import Board

PANEL = 3.6  # inches that a task is wide
CAPTION = (
    "Test accuracy in the worst case over attacks against the share of attackers, mean over seeds; whiskers: ± one standard deviation. "
    "Dashed grey: FedAvg where nobody attacks; dotted grey: guessing. Rules by their place."
)


def draw(found: Leaderboard, room: float = WIDE) -> Drawing:
    """A line for each rule, the best first in the legend."""
    names = [f"{each.place}{'=' * each.tied}  {label(each.rule)}" for each in found.standings]
    in_a_row = max(1, int(min(room, PANEL * len(found.boards)) / (0.078 * max(map(len, names)) + 0.6)))
    legend = 0.22 * math.ceil(len(names) / in_a_row)
    height = 2.6 if room <= NARROW else 3.6
    figure, axes = panels(len(found.boards), room, PANEL, height, margin=(0.3, legend + 0.3), below="attackers (% of the clients)")
    for axis, board in zip(axes, found.boards, strict=True):
        _panel(axis, found, board)
    figure.supylabel("test accuracy (%)", fontsize=10)
    handles = axes[0].get_legend_handles_labels()[0]
    figure.legend(handles, names, loc="outside lower center", ncols=in_a_row, frameon=False, handlelength=3)
    return Drawing("leaderboard", "Leaderboard", CAPTION, figure)


def _panel(axis: Axes, found: Leaderboard, board: Board) -> None:
    for each, look in zip(found.standings, looks([each.rule for each in found.standings]).values(), strict=True):
        points = board.curves[each.rule].points
        shares, scores = [100 * point.share for point in points], [point.score for point in points]
        style = {**look.line_style(len(points)), "elinewidth": 0.7, "capsize": 2}
        means, deviations = ([100 * value for value in column] for column in zip(*((s.mean, s.std) for s in scores), strict=True))
        axis.errorbar(shares, means, yerr=deviations, label=each.rule, **style)
    axis.axhline(100 * board.reference.mean, color=QUIET, linestyle=(0, (4, 2)), linewidth=1.2, zorder=1)
    axis.axhline(100 * board.chance, color=QUIET, linestyle=(0, (1, 2)), linewidth=1.2, zorder=1)
    axis.set_title(wrapped(board.name, 40))
    axis.set_ylim(0, 100)
