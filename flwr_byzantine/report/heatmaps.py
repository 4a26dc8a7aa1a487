"""Heat-maps: f × heterogeneity for each rule, rule × attack for each setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flwr_byzantine.report.cells import Setting, describe, show
from flwr_byzantine.report.scores import Row, WorstCase
from flwr_byzantine.report.study import Study
from flwr_byzantine.report.style import NAN_COLOUR, Drawing, panels, slug, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MATRIX = "Rules × attacks"
MAPS = "Byzantine clients × heterogeneity"
BACKDOORS = "Backdoors"
KEPT = "Malicious updates kept"
HETEROGENEITY = {"gamma": "gamma (1: iid, 0: sorted by label)", "alpha": "Dirichlet alpha", "partition": "partition"}
GOOD, BAD = "viridis", "magma_r"


def matrices(study: Study, measure: str = "accuracy") -> list[Drawing]:
    """Rule × attack for each setting: accuracy, attack success, or the share of malicious updates kept."""
    return [_matrix(table, measure) for table in study.tables(measure) if any(_known(table))]


def _known(table: WorstCase) -> list[bool]:
    return [row.column(attack).known for row in table.rows for attack in table.attacks]


def _matrix(table: WorstCase, measure: str) -> Drawing:
    columns = _columns(table, measure)
    data = np.array([[100 * row.column(name).mean for name in columns] for row in table.rows])
    figure, (axis,) = panels(1, 1, 0.72 * len(columns) + 3.4, 0.33 * len(table.rows) + 1.5)
    image = draw(
        axis, data, [row.rule for row in table.rows], [wrapped(name, 14) for name in columns], GOOD if measure == "accuracy" else BAD
    )
    axis.tick_params(axis="x", rotation=35 if len(columns) > 4 else 0)
    figure.colorbar(image, ax=axis, label="%", shrink=0.85, pad=0.02)
    section, words = {
        "accuracy": (MATRIX, "Test accuracy in percent, mean over seeds; worst: the least over attacks"),
        "attack_success": (
            BACKDOORS,
            "Attack success rate in percent: triggered test samples classified as the attacker wants. Lower is better",
        ),
        "malicious_kept": (KEPT, "Share of the malicious updates that the rule kept, in percent. Lower is better"),
    }[measure]
    where = describe(table.setting)
    return Drawing(f"{slug(measure)}-{slug(where)}", section, f"{words}; {where}. Grey: no number.", figure)


def _columns(table: WorstCase, measure: str) -> list[str]:
    if measure == "accuracy":
        return [*table.attacks, "worst"] if table.attacks not in ((), ("none",)) else list(table.attacks)
    attacks = [name for name in table.attacks if name != "none" or measure == "attack_success"]
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
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
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
        return [_by_key(study, key) for key in (across, down) if key]
    rest = [key for key in keys if key not in (across, down)]
    figures = []
    for setting, tables in _split(study.tables(), rest).items():
        attacks = [name for name in tables[0].attacks if any(row.column(name).known for table in tables for row in table.rows)]
        figures += [_map(study, setting, tables, (across, down), name) for name in ("worst", *attacks)]
    return figures


def _split(tables: Sequence[WorstCase], keys: Sequence[str]) -> dict[Setting, list[WorstCase]]:
    groups: dict[Setting, list[WorstCase]] = {}
    for table in tables:
        groups.setdefault(tuple((key, value) for key, value in table.setting if key in keys), []).append(table)
    return groups


def _map(study: Study, setting: Setting, tables: Sequence[WorstCase], axes: tuple[str, str], column: str) -> Drawing:
    across, down = ([value for value in dict.fromkeys(dict(table.setting)[key] for table in tables)] for key in axes)
    across, down = sorted(across), sorted(down, reverse=True, key=lambda value: (isinstance(value, str), value))
    means = _means(tables, axes, column)
    names = [*study.rules, *["best of all rules"] * (len(study.rules) > 1)]
    figure, panes = panels(len(names), 4, 0.42 * len(across) + 0.9, 0.3 * len(down) + 0.75, margin=(1.2, 0.5))
    for pane, name in zip(panes, names, strict=True):
        data = np.array([[_value(means, name, (x, y)) for x in across] for y in down])
        image = draw(pane, 100 * data, [show(y) for y in down], [show(x) for x in across])
        pane.set_title(wrapped(name, 24), fontsize=9.5)
    _label(figure, panes, image, axes)
    words = "the worst case over attacks" if column == "worst" else "no attack" if column == "none" else column
    where = f"; {describe(setting)}" if setting else ""
    caption = f"Test accuracy in percent under {words}, mean over seeds{where}. Grey: no number, or an attack without one."
    return Drawing("-".join(filter(None, ["map", slug(column), slug(describe(setting)) if setting else ""])), MAPS, caption, figure)


def _label(figure: Figure, panes: Sequence[Axes], image: Any, axes: tuple[str, str]) -> None:
    figure.supxlabel("Byzantine clients f" if axes[0] == "f" else axes[0], fontsize=10)
    figure.supylabel(HETEROGENEITY[axes[1]], fontsize=10)
    figure.colorbar(image, ax=list(panes), label="%", shrink=0.9, pad=0.02)


Means = dict[tuple[str, tuple[Any, Any]], float]


def _means(tables: Sequence[WorstCase], axes: tuple[str, str], column: str) -> Means:
    """The mean of each rule at each point; NaN for a worst case that is only a bound."""
    at: Callable[[WorstCase], tuple[Any, Any]] = lambda table: (dict(table.setting)[axes[0]], dict(table.setting)[axes[1]])  # noqa: E731
    return {(row.rule, at(table)): _trusted(row, column) for table in tables for row in table.rows}


def _trusted(row: Row, column: str) -> float:
    return row.column(column).mean if row.complete or column != "worst" else float("nan")


def _value(means: Means, name: str, point: tuple[Any, Any]) -> float:
    if name != "best of all rules":
        return means.get((name, point), float("nan"))
    known = [value for (_, where), value in means.items() if where == point and np.isfinite(value)]
    return max(known, default=float("nan"))


def _by_key(study: Study, key: str) -> Drawing:
    """Rule × the settings, where f or the heterogeneity varies but not both."""
    tables = study.tables()
    rules = study.rules
    found = {(row.rule, table.setting): _trusted(row, "worst") for table in tables for row in table.rows}
    data = np.array([[100 * found.get((rule, table.setting), float("nan")) for table in tables] for rule in rules])
    figure, (axis,) = panels(1, 1, 0.8 * len(tables) + 3.2, 0.33 * len(rules) + 1.2)
    image = draw(axis, data, rules, [wrapped(describe(table.setting), 16) for table in tables])
    figure.colorbar(image, ax=axis, label="%", shrink=0.85, pad=0.02)
    caption = "Worst case over attacks of the test accuracy, in percent, mean over seeds. Grey: an attack without a number."
    return Drawing(f"map-worst-{slug(key)}", MAPS, caption, figure)
