"""Heat-maps: f × heterogeneity for each rule, rule × attack for each setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.report.matrix import BAD, COLOUR_BAR, GOOD, draw, matrix
from flwr_byzantine.experiments.report.naming import file_name, where
from flwr_byzantine.experiments.report.scores import WORST, Row, WorstCase
from flwr_byzantine.experiments.report.settings import describe, rank
from flwr_byzantine.experiments.report.study import Study
from flwr_byzantine.experiments.results import Setting, show
from flwr_byzantine.monitor.show.figures import NARROW, WIDE, Drawing, label, panels, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MATRIX = "Rules × attacks"
MAPS = "Byzantine clients × heterogeneity"
BY_SETTING = "Worst case by setting"
BACKDOORS = "Backdoors"
KEPT = "Malicious updates kept"
HETEROGENEITY = {"gamma": "gamma (1: iid, 0: sorted by label)", "alpha": "Dirichlet alpha", "partition": "partition"}
TITLES = {
    "accuracy": (MATRIX, "Test accuracy in percent, mean over seeds; worst: the least over attacks"),
    "attack_success": (
        BACKDOORS,
        "Attack success rate in percent: triggered test samples classified as the attacker wants. Lower is better",
    ),
    "malicious_kept": (KEPT, "Share of the malicious updates that the rule kept, in percent. Lower is better"),
}


def matrices(study: Study, measure: str = "accuracy", room: float = WIDE) -> list[Drawing]:
    """Rule × attack for each setting: accuracy, attack success, or the share of malicious updates kept."""
    tables = [table for table in study.tables(measure) if any(_known(table))]
    columns = {name for table in tables for name in _columns(table, measure)}
    if len(tables) > 1 and len(columns) == 1:
        return [_over_settings(tables, study.rules, columns.pop(), measure, room)]
    return [_matrix(table, measure, room) for table in tables]


def _known(table: WorstCase) -> list[bool]:
    return [row.column(attack).known for row in table.rows for attack in table.attacks]


def _matrix(table: WorstCase, measure: str, room: float) -> Drawing:
    columns = _columns(table, measure)
    data = np.array([[100 * _trusted(row, name) for name in columns] for row in table.rows])
    colours = GOOD if measure == "accuracy" else BAD
    figure = matrix(data, [row.rule for row in table.rows], columns, colours, room, apart=columns[-1] == WORST)
    section, words = TITLES[measure]
    caption = f"{words}{where(table.setting)}. Grey: no number."
    return Drawing(file_name(measure, table.setting), section, caption, figure, describe(table.setting))


def _columns(table: WorstCase, measure: str) -> list[str]:
    if measure == "accuracy":
        return [*table.attacks, WORST] if table.attacks not in ((), (NO_ATTACK,)) else list(table.attacks)
    attacks = [name for name in table.attacks if name != NO_ATTACK or measure == "attack_success"]
    return [name for name in attacks if any(row.column(name).known for row in table.rows)]


def maps(study: Study, room: float = WIDE) -> list[Drawing]:
    """Worst case over attacks, then each attack: f × heterogeneity, a panel for each rule; rule × key where one key only varies."""
    keys = list(study.keys)
    across = next((key for key in ("f", "num_malicious") if key in keys), None)
    down = next((key for key in HETEROGENEITY if key in keys), None)
    if across is None or down is None:
        return [_by_key(study, room)] if across or down else []
    rest = [key for key in keys if key not in (across, down)]
    figures = []
    for setting, tables in _split(study.tables(), rest).items():
        attacks = [name for name in tables[0].attacks if any(row.column(name).known for table in tables for row in table.rows)]
        figures += [_map(study, setting, tables, (across, down), name, room) for name in (WORST, *attacks)]
    return figures


def _split(tables: Sequence[WorstCase], keys: Sequence[str]) -> dict[Setting, list[WorstCase]]:
    groups: dict[Setting, list[WorstCase]] = {}
    for table in tables:
        groups.setdefault(tuple((key, value) for key, value in table.setting if key in keys), []).append(table)
    return groups


def _map(study: Study, setting: Setting, tables: Sequence[WorstCase], axes: tuple[str, str], column: str, room: float) -> Drawing:
    across, down = ([value for value in dict.fromkeys(dict(table.setting)[key] for table in tables)] for key in axes)
    across, down = sorted(across, key=rank), sorted(down, reverse=True, key=rank)
    means = _means(tables, axes, column)
    names = [*study.rules, *["best of all rules"] * (len(study.rules) > 1)]
    margin = (0.4 if room <= NARROW else 0.5 + COLOUR_BAR, 0.5)
    figure, panes = panels(len(names), room, 0.42 * len(across) + 0.9, 0.3 * len(down) + 0.75, margin)
    for pane, name in zip(panes, names, strict=True):
        data = np.array([[_value(means, name, (x, y)) for x in across] for y in down])
        image = draw(pane, 100 * data, [label(show(y)) for y in down], [label(show(x)) for x in across])
        pane.set_title(wrapped(name, 24), fontsize=9.5)
    _label(figure, axes)
    if room > NARROW:
        figure.colorbar(image, ax=list(panes), label="%", shrink=0.7, aspect=35, pad=0.02)
    words = {WORST: "in the worst case over attacks", NO_ATTACK: "with no attack"}.get(column, f"under {column}")
    caption = f"Test accuracy in percent {words}, mean over seeds{where(setting)}. Grey: no number, or an attack without one."
    return Drawing(file_name(f"map-{column}", setting), MAPS, caption, figure, f"{words}{where(setting)}")


def _label(figure: Figure, axes: tuple[str, str]) -> None:
    figure.supxlabel("Byzantine clients f" if axes[0] == "f" else axes[0], fontsize=10)
    figure.supylabel(HETEROGENEITY[axes[1]], fontsize=10)


Means = dict[tuple[str, tuple[Any, Any]], float]


def _means(tables: Sequence[WorstCase], axes: tuple[str, str], column: str) -> Means:
    """The mean of each rule at each point; NaN for a worst case that is only a bound."""
    points = [(table, dict(table.setting)) for table in tables]
    return {(row.rule, (at[axes[0]], at[axes[1]])): _trusted(row, column) for table, at in points for row in table.rows}


def _trusted(row: Row, column: str) -> float:
    return row.column(column).mean if row.complete or column != WORST else float("nan")


def _value(means: Means, name: str, point: tuple[Any, Any]) -> float:
    if name != "best of all rules":
        return means.get((name, point), float("nan"))
    known = [value for (_, where), value in means.items() if where == point and np.isfinite(value)]
    return max(known, default=float("nan"))


def _by_key(study: Study, room: float) -> Drawing:
    """The worst case where f or the heterogeneity varies but not both."""
    drawing = _over_settings(study.tables(), study.rules, WORST, "accuracy", room)
    caption = "Worst case over attacks of the test accuracy, in percent, mean over seeds. Grey: an attack without a number."
    return replace(drawing, name="map-worst", section=BY_SETTING, caption=caption)


def _over_settings(tables: Sequence[WorstCase], rules: Sequence[str], column: str, measure: str, room: float) -> Drawing:
    """Rule × settings, for one attack or the worst case."""
    found = {(row.rule, table.setting): _trusted(row, column) for table in tables for row in table.rows}
    data = np.array([[100 * found.get((rule, table.setting), float("nan")) for table in tables] for rule in rules])
    labels = [", ".join(show(value) for _, value in table.setting) for table in tables]
    figure = matrix(data, rules, labels, GOOD if measure == "accuracy" else BAD, room)
    figure.supxlabel(label(", ".join(key for key, _ in tables[0].setting)), fontsize=10)
    section, words = TITLES[measure]
    return Drawing(file_name(measure, ()), section, f"{words}; {column}. Grey: no number.", figure)
