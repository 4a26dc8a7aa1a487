"""Who is found and what that costs: figures of detection, rule by attack, and ROC curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.report.naming import file_name, where
from flwr_byzantine.experiments.report.scores import Score, WorstCase
from flwr_byzantine.experiments.report.settings import describe
from flwr_byzantine.experiments.report.study import Study
from flwr_byzantine.experiments.report.tables import EMPTY, percent
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.monitor.show.figures import WIDE, Drawing, columns_for, label, panels, wrapped
from flwr_byzantine.monitor.show.looks import Look, looks
from flwr_byzantine.monitor.show.table import Field, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL = 2.5  # inches that a panel is wide
SECTION = "Who is left out"
HEADER = ("rule", "attack", "precision", "recall", "AUC", "first after", "for good after", "honest clients lost")
NOTES = (
    "Precision: share of attackers among those left out of the aggregate; recall: share of the attackers' replies that were left out; both "
    "of all rounds together. AUC: how often an attacker's score is above an honest client's, in the mean over rounds.",
    "After how many of its attacks an attacker is first left out, and left out in all that follow: median over attackers. Honest clients "
    "lost: left out in more than half of their rounds. All in percent but for rounds; ± one standard deviation over seeds.",
)


def tables(study: Study) -> list[Table]:
    """A table for each setting in which anybody's verdicts are known."""
    found = [table(one) for one in study.tables()]
    return [one for one in found if one.rows]


def table(of: WorstCase) -> Table:
    """The figures of one setting, a row for each rule and attack."""
    groups = [(row.rule, attack) for row in of.rows for attack in of.attacks]
    cells = {pair: [cell for cell in of.cells if (cell.rule, cell.attack) == pair and cell.ok] for pair in groups}
    rows = tuple(_fields(*pair, found) for pair, found in cells.items() if any(_judged(cell) for cell in found))
    title = f"{SECTION}: {describe(of.setting)}" if of.setting else SECTION
    return Table(title, HEADER, rows, NOTES).without_empty()


def _judged(cell: Result) -> bool:
    return cell.final.get("recall") is not None or cell.final.get("honest_lost") is not None


def _fields(rule: str, attack: str, cells: Sequence[Result]) -> tuple[Field, ...]:
    shares = {name: share(cells, name) for name in ("precision", "recall", "auc", "honest_lost")}
    after = [rounds(cells, name) if attack != NO_ATTACK else EMPTY for name in ("rounds_to_first", "rounds_to_good")]
    return Field(rule), Field(attack), shares["precision"], shares["recall"], shares["auc"], *after, shares["honest_lost"]


def share(cells: Sequence[Result], measure: str) -> Field:
    """A share in percent, over the seeds that have one: nobody left out is no precision."""
    known = tuple(value for cell in cells if not math.isnan(value := cell.value(measure)))
    return percent(Score(known)) if known else EMPTY


def rounds(cells: Sequence[Result], measure: str) -> Field:
    """Rounds until something, over the seeds in which it came; "never" where in none."""
    came = [value for cell in cells if not math.isnan(value := cell.value(measure))]
    if not came:
        return Field("never")
    some = f"({len(came)} of {len(cells)} seeds)" if len(came) < len(cells) else ""
    return Field(f"{fmean(came):.1f}".removesuffix(".0"), some, number=fmean(came))


def rocs(study: Study, room: float = WIDE) -> list[Drawing]:
    """One figure for each setting, one panel for each attack, a curve for each rule that scores."""
    shown = looks(study.rules)
    return [_drawing(study, one, shown, room) for one in study.tables() if any(cell.roc for cell in one.cells)]


def _drawing(study: Study, of: WorstCase, shown: dict[str, Look], room: float) -> Drawing:
    scored = [cell for cell in of.cells if cell.roc]
    attacks = [attack for attack in of.attacks if any(cell.attack == attack for cell in scored)]
    names = [rule for rule in shown if any(cell.rule == rule for cell in scored)]
    wide = min(room, PANEL * columns_for(len(attacks), max(1, int(room / PANEL))))  # the figure
    columns = max(1, int(wide / (0.078 * max(len(label(name)) for name in names) + 0.9)))
    legend = 0.22 * math.ceil(len(names) / columns)
    figure, axes = panels(len(attacks), room, PANEL, 2.3, margin=(0.3, legend + 0.3), below="honest clients above it (%)")
    for axis, attack in zip(axes, attacks, strict=True):
        _panel(axis, [cell for cell in scored if cell.attack == attack], {name: shown[name] for name in names})
        axis.set_title(wrapped(attack, 24))
    figure.supylabel("attackers above the threshold (%)", fontsize=10)
    handles = {text: line for axis in axes for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False, handlelength=3)
    caption = f"ROC curves of the scores over all thresholds of a round: mean over rounds and seeds{where(of.setting)}."
    return Drawing(file_name("roc", of.setting), SECTION, caption, figure, describe(of.setting))


def _panel(axis: Axes, cells: Sequence[Result], shown: dict[str, Look]) -> None:
    for rule, look in shown.items():
        curves = [cell.roc for cell in cells if cell.rule == rule]
        if curves:
            mean = 100 * np.mean(curves, axis=0)
            axis.plot(np.linspace(0, 100, len(mean)), mean, label=label(rule), **look.line_style(len(mean)))
    axis.plot((0, 100), (0, 100), color="#808080", linewidth=0.8, linestyle=":")
    axis.set_ylim(0, 102)
