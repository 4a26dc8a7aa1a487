"""Accuracy against rounds, and bars of what robustness costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.report.naming import file_name, where
from flwr_byzantine.experiments.report.scores import WorstCase
from flwr_byzantine.experiments.report.settings import describe
from flwr_byzantine.experiments.report.study import Study
from flwr_byzantine.experiments.results import Result, Setting
from flwr_byzantine.monitor.show.colours import QUIET
from flwr_byzantine.monitor.show.figures import NARROW, WIDE, Drawing, label, panels, wrapped
from flwr_byzantine.monitor.show.looks import Look, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = "Accuracy against rounds"
HONEST = "Honest cost"
REFERENCE = "FedAvg, no attack"
PANEL, SMALL_PANEL = (2.8, 2.5), (1.7, 1.7)  # inches that one attack's curves are wide and high


def curves(study: Study, room: float = WIDE) -> list[Drawing]:
    """One figure for each setting, one panel for each attack, a line for each rule."""
    shown = looks(study.rules)
    return [_curves(study, setting, cells, shown, room) for setting, cells in study.settings.items() if any(c.curve() for c in cells)]


def _curves(study: Study, setting: Setting, cells: Sequence[Result], shown: dict[str, Look], room: float) -> Drawing:
    present = {cell.attack for cell in cells}
    attacks = [attack for attack in (NO_ATTACK, *study.attacks) if attack in present]
    names = [*map(label, shown), REFERENCE]
    small, (width, height) = room <= NARROW, SMALL_PANEL if room <= NARROW else PANEL
    in_a_row = max(1, int(min(room, width * len(attacks)) / (0.078 * max(map(len, names)) + 0.6)))
    legend = 0.22 * math.ceil(len(names) / in_a_row)
    figure, axes = panels(len(attacks), room, width, height, margin=(0.3, legend + 0.3), below="round")
    reference = study.reference.of(cells)
    for axis, attack in zip(axes, attacks, strict=True):
        _panel(axis, [cell for cell in cells if cell.attack == attack], reference, shown)
        axis.set_title("no attack" if attack == NO_ATTACK else wrapped(attack, 18 if small else 28), fontsize=8 if small else None)
        axis.set_ylim(0, 100)
    figure.supylabel("test accuracy (%)", fontsize=10)
    _legend(figure, axes, names, in_a_row)
    caption = f"Test accuracy over rounds{where(setting)}. Lines: mean over seeds; bands: least to greatest seed."
    caption += " Dashed grey: FedAvg with no attack." * bool(reference)
    return Drawing(file_name("curves", setting), CURVES, caption, figure, describe(setting))


def _legend(figure: Figure, axes: Sequence[Axes], order: Sequence[str], columns: int) -> None:
    """One legend for all panels, rules in the order of the tables."""
    handles = {name: line for axis in axes for line, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    names = [name for name in order if name in handles]
    figure.legend([handles[name] for name in names], names, loc="outside lower center", ncols=columns, frameon=False, handlelength=3)


def _panel(axis: Axes, cells: Sequence[Result], reference: Sequence[Result], shown: dict[str, Look]) -> None:
    from matplotlib.ticker import MaxNLocator

    rounds, grey = _accuracies(reference)
    if grey.size:
        axis.plot(rounds, grey.mean(axis=0), color=QUIET, linestyle=(0, (4, 2)), linewidth=1.4, label=REFERENCE, zorder=1)
    for rule, look in shown.items():
        rounds, accuracies = _accuracies([cell for cell in cells if cell.rule == rule])
        if not accuracies.size:
            continue
        axis.plot(rounds, accuracies.mean(axis=0), label=label(rule), **look.line_style(len(rounds)))
        if len(accuracies) > 1:
            axis.fill_between(rounds, accuracies.min(axis=0), accuracies.max(axis=0), color=look.colour, alpha=0.15, linewidth=0)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _accuracies(cells: Sequence[Result]) -> tuple[np.ndarray, np.ndarray]:
    """The rounds that were evaluated in each seed, and accuracy in percent, seeds × these rounds, cut to the shortest of them."""
    found = [curve for curve in (cell.curve() for cell in cells if cell.ok) if curve]
    length = min(map(len, found), default=0)
    accuracies = 100 * np.array([curve[:length] for curve in found], dtype=float).reshape(len(found), length)
    rounds = np.flatnonzero(np.isfinite(accuracies).all(axis=0))
    return rounds, accuracies[:, rounds]


def honest_cost(study: Study, room: float = WIDE) -> list[Drawing]:
    """Bars of the accuracy lost with no attack against FedAvg, one panel for each setting."""
    tables = [table for table in study.tables() if any(np.isfinite(row.cost) for row in table.rows)]
    if not tables:
        return []
    rules, shown = study.rules[::-1], looks(study.rules)
    names = [wrapped(rule, 22) for rule in rules]
    bar = max(0.24, 0.13 * (1 + max(name.count("\n") for name in names)) + 0.08)
    figure, axes = panels(len(tables), room, 2.3, bar * len(rules) + 0.55, margin=(1.45, 0.35))
    for axis, table in zip(axes, tables, strict=True):
        _bars(axis, table, rules, shown)
    figure.supxlabel("accuracy lost with no attack (percentage points)", fontsize=10)
    caption = (
        "What each rule costs where nobody attacks: FedAvg's test accuracy without attack minus the rule's. "
        "Whiskers: ± one standard deviation of the rule over seeds."
    )
    return [Drawing("honest-cost", HONEST, caption, figure)]


def _bars(axis: Axes, table: WorstCase, rules: Sequence[str], shown: dict[str, Look]) -> None:
    cost = {row.rule: 100 * row.cost for row in table.rows}
    deviation = {row.rule: 100 * row.column(NO_ATTACK).std for row in table.rows}
    lengths = [cost.get(rule, np.nan) for rule in rules]
    whiskers = np.nan_to_num([deviation.get(rule, np.nan) for rule in rules])
    style: dict[str, Any] = {"height": 0.7, "error_kw": {"elinewidth": 1, "ecolor": QUIET}}
    axis.barh(range(len(rules)), lengths, xerr=whiskers, color=[shown[rule].colour for rule in rules], **style)
    for place in np.flatnonzero(np.isnan(lengths)):
        axis.text(0, float(place), "  no number", va="center", fontsize=8, color=QUIET)
    axis.set_yticks(range(len(rules)), [wrapped(rule, 22) for rule in rules], fontsize=8)
    axis.axvline(0, color=QUIET, linewidth=0.8)
    axis.grid(axis="y", visible=False)
    axis.set_title(wrapped(describe(table.setting), 30))
