"""Heat-maps: f × heterogeneity for each rule, rule × attack for each setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.report.scores import WORST, Row, WorstCase
from flwr_byzantine.experiments.report.settings import describe, rank
from flwr_byzantine.experiments.report.study import Study
from flwr_byzantine.experiments.report.style import NAN_COLOUR, Drawing, file_name, label, panels, where, wrapped
from flwr_byzantine.experiments.results import Setting, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
GOOD, BAD = "viridis", "magma_r"
SIDE_BY_SIDE = 8  # characters of a column's label that need not be slanted


def matrices(study: Study, measure: str = "accuracy") -> list[Drawing]:
    """Rule × attack for each setting: accuracy, attack success, or the share of malicious updates kept."""
    tables = [table for table in study.tables(measure) if any(_known(table))]
    columns = {name for table in tables for name in _columns(table, measure)}
    if len(tables) > 1 and len(columns) == 1:
        return [_over_settings(tables, study.rules, columns.pop(), measure)]
    return [_matrix(table, measure) for table in tables]


def _known(table: WorstCase) -> list[bool]:
    return [row.column(attack).known for row in table.rows for attack in table.attacks]


def _matrix(table: WorstCase, measure: str) -> Drawing:
    columns = _columns(table, measure)
    data = np.array([[100 * _trusted(row, name) for name in columns] for row in table.rows])
    rules, columns = [label(row.rule) for row in table.rows], list(map(label, columns))
    wide, high = 0.72 * len(columns) + 0.085 * max(map(len, rules)) + 1, 0.33 * len(rules) + 1.5
    slanted = max(map(len, columns)) > SIDE_BY_SIDE
    figure, (axis,) = panels(1, 1, wide, high + slanted * 0.045 * max(map(len, columns)))
    image = draw(axis, data, rules, columns, GOOD if measure == "accuracy" else BAD)
    if slanted:
        axis.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    figure.colorbar(image, ax=axis, label="%", shrink=0.85, pad=0.02)
    section, words = TITLES[measure]
    return Drawing(
        file_name(measure, table.setting), section, f"{words}{where(table.setting)}. Grey: no number.", figure, describe(table.setting)
    )


def _columns(table: WorstCase, measure: str) -> list[str]:
    if measure == "accuracy":
        return [*table.attacks, WORST] if table.attacks not in ((), (NO_ATTACK,)) else list(table.attacks)
    attacks = [name for name in table.attacks if name != NO_ATTACK or measure == "attack_success"]
    return [name for name in attacks if any(row.column(name).known for row in table.rows)]


def draw(axis: Axes, data: np.ndarray, rows: Sequence[str], columns: Sequence[str], cmap: str = GOOD, size: float = 9) -> Any:
    """An annotated matrix of percentages between 0 and 100."""
    from matplotlib import colormaps

    colours = colormaps[cmap].with_extremes(bad=NAN_COLOUR)
    image = axis.imshow(np.ma.masked_invalid(data), cmap=colours, vmin=0, vmax=100, aspect="auto")
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    for (i, j), value in np.ndenumerate(data):
        red, green, blue, _ = colours(value / 100) if np.isfinite(value) else (1, 1, 1, 1)
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.45
        axis.text(
            j, i, f"{value:.0f}" if np.isfinite(value) else "–", ha="center", va="center", fontsize=size, color="white" if dark else "black"
        )
    return image


def maps(study: Study) -> list[Drawing]:
    """Worst case over attacks, then each attack: f × heterogeneity, a panel for each rule; rule × key where one key only varies."""
    keys = list(study.keys)
    across = next((key for key in ("f", "num_malicious") if key in keys), None)
    down = next((key for key in HETEROGENEITY if key in keys), None)
    if across is None or down is None:
        return [_by_key(study)] if across or down else []
    rest = [key for key in keys if key not in (across, down)]
    figures = []
    for setting, tables in _split(study.tables(), rest).items():
        attacks = [name for name in tables[0].attacks if any(row.column(name).known for table in tables for row in table.rows)]
        figures += [_map(study, setting, tables, (across, down), name) for name in (WORST, *attacks)]
    return figures


def _split(tables: Sequence[WorstCase], keys: Sequence[str]) -> dict[Setting, list[WorstCase]]:
    groups: dict[Setting, list[WorstCase]] = {}
    for table in tables:
        groups.setdefault(tuple((key, value) for key, value in table.setting if key in keys), []).append(table)
    return groups


def _map(study: Study, setting: Setting, tables: Sequence[WorstCase], axes: tuple[str, str], column: str) -> Drawing:
    across, down = ([value for value in dict.fromkeys(dict(table.setting)[key] for table in tables)] for key in axes)
    across, down = sorted(across, key=rank), sorted(down, reverse=True, key=rank)
    means = _means(tables, axes, column)
    names = [*study.rules, *["best of all rules"] * (len(study.rules) > 1)]
    figure, panes = panels(len(names), 4, 0.42 * len(across) + 0.9, 0.3 * len(down) + 0.75, margin=(1.2, 0.5))
    for pane, name in zip(panes, names, strict=True):
        data = np.array([[_value(means, name, (x, y)) for x in across] for y in down])
        image = draw(pane, 100 * data, [label(show(y)) for y in down], [label(show(x)) for x in across])
        pane.set_title(wrapped(name, 24), fontsize=9.5)
    _label(figure, panes, image, axes)
    words = {WORST: "in the worst case over attacks", NO_ATTACK: "with no attack"}.get(column, f"under {column}")
    caption = f"Test accuracy in percent {words}, mean over seeds{where(setting)}. Grey: no number, or an attack without one."
    return Drawing(file_name(f"map-{column}", setting), MAPS, caption, figure, f"{words}{where(setting)}")


def _label(figure: Figure, panes: Sequence[Axes], image: Any, axes: tuple[str, str]) -> None:
    figure.supxlabel("Byzantine clients f" if axes[0] == "f" else axes[0], fontsize=10)
    figure.supylabel(HETEROGENEITY[axes[1]], fontsize=10)
    figure.colorbar(image, ax=list(panes), label="%", shrink=0.7, aspect=35, pad=0.02)


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


def _by_key(study: Study) -> Drawing:
    """The worst case where f or the heterogeneity varies but not both."""
    drawing = _over_settings(study.tables(), study.rules, WORST, "accuracy")
    caption = "Worst case over attacks of the test accuracy, in percent, mean over seeds. Grey: an attack without a number."
    return replace(drawing, name="map-worst", section=BY_SETTING, caption=caption)


def _over_settings(tables: Sequence[WorstCase], rules: Sequence[str], column: str, measure: str) -> Drawing:
    """Rule × settings, for one attack or the worst case."""
    found = {(row.rule, table.setting): _trusted(row, column) for table in tables for row in table.rows}
    data = np.array([[100 * found.get((rule, table.setting), float("nan")) for table in tables] for rule in rules])
    figure, (axis,) = panels(1, 1, 0.85 * len(tables) + 3.2, 0.33 * len(rules) + 1.4)
    labels = ["\n".join(label(show(value)) for _, value in table.setting) for table in tables]
    axis.set_xlabel(", ".join(key for key, _ in tables[0].setting))
    image = draw(axis, data, list(map(label, rules)), labels, GOOD if measure == "accuracy" else BAD)
    figure.colorbar(image, ax=axis, label="%", shrink=0.85, pad=0.02)
    section, words = TITLES[measure]
    return Drawing(file_name(measure, ()), section, f"{words}; {column}. Grey: no number.", figure)
