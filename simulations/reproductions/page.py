"""Writes the tables and figures of README.md from the committed results: python -m simulations.reproductions.page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl

from flwr_byzantine.experiments.measures import MODEL_MEASURES, evaluated
from flwr_byzantine.experiments.report.heatmaps import matrices
from flwr_byzantine.experiments.report.published import Published, matched
from flwr_byzantine.experiments.report.scores import WORST, WorstCase
from flwr_byzantine.experiments.report.settings import describe, values
from flwr_byzantine.experiments.report.study import Study
from flwr_byzantine.experiments.report.tables import worst_case_table
from flwr_byzantine.experiments.results import read
from flwr_byzantine.experiments.sweep.config import read as read_sweep
from flwr_byzantine.monitor.show.figures import RC, svg_of
from flwr_byzantine.monitor.show.table import Field, Table
from simulations.reproductions.compared import (
    HERE,
    NAMES,
    SAME_MASKS,
    Pair,
    among_seeds,
    best_on_the_scale_of_training,
    file_of,
    orders,
    pairs,
    published,
    results,
    score,
    whole,
    without_result,
)

PAGE = HERE / "README.md"
DIGITS = 5  # of the committed values
STEPS = 800  # of ByzFL's runs
MARKED = "<!-- {name} -->\n{text}\n<!-- end of {name} -->"


def blocks() -> dict[str, str]:
    """The generated parts of the page by name, from the results."""
    tables = {name: by_setting(name) if name == "byzfl" else by_attack(name) for name in NAMES}
    return {
        "counts": counts(),
        **{name: table or "No cell has run yet." for name, table in tables.items()},
        "bucketing-figures": figures("bucketing"),
        "bucketing-masks": masks(),
        "flanders-scale": on_the_scale_of_training(),
        **{f"{name}-beyond": beyond(name) for name in NAMES},
    }


def counts() -> str:
    """How many cells have no result yet, how many published figures ours are near, and how many two of them have the published order."""
    near = {name: [pair.near for pair in pairs(name)] for name in NAMES}
    order = {name: orders(name) for name in NAMES}
    near["together"], order["together"] = (list(chain(*of.values())) for of in (near, order))
    sizes = {name: _sizes(name) for name in NAMES}
    sizes["together"] = tuple(map(sum, zip(*sizes.values(), strict=True)))
    rows = [(Field(name), *(Field(str(size)) for size in sizes[name]), *_counted(of), *_counted(order[name])) for name, of in near.items()]
    head = ("reproduction", "cells", "without a result", "published", "compared", "within 5 points", "share")
    table = Table("Published figures", (*head, "two rules", "in the published order", "share"), tuple(rows)).markdown().strip()
    return f"{table}\n\n{repeated()}"


def repeated() -> str:
    """How near one seed of a compared figure is to the others, ours and theirs, and which far figures seeds explain."""
    ours = _shares({name: among_seeds(pair.values for pair in pairs(name)) for name in NAMES})
    theirs = _shares({name: among_seeds(pair.seeds for pair in pairs(name)) for name in NAMES})
    explained = _shares({name: [pair.explained for pair in pairs(name) if not pair.near] for name in NAMES})
    return (
        f"One seed is within 5 points of the mean of the other two in so many cases, which is what a repetition can be expected to reach:\n"
        f"of our seeds {ours}; of theirs {theirs}. Of the figures that differ by\nmore, the published one "
        f"lies in the range of our seeds, or ours in that of theirs:\n{explained}."
    )


def _shares(named: Mapping[str, Sequence[bool]]) -> str:
    found = {name: of for name, of in named.items() if of}
    return ", ".join(f"{sum(of)} of {len(of)} in {name} ({100 * fmean(of):.0f} %)" for name, of in found.items())


def _sizes(name: str) -> tuple[int, ...]:
    """How many cells the configuration has, how many of them have no result, and how many figures are published."""
    cells = read_sweep(HERE / f"{name}.toml").cells
    return len(cells), without_result(name, cells), len(published(name))


def _counted(of: Sequence[bool]) -> tuple[Field, ...]:
    return Field(str(len(of))), Field(str(sum(of))), Field(f"{100 * fmean(of):.1f} %" if of else "–")


def beyond(name: str) -> str:
    """The pairs that differ by more than 5 points, as Markdown."""
    found = pairs(name)
    if not found:
        return "No figure is compared yet."
    far = [f"\n- {pair}" for pair in found if not pair.near]
    return f"Further than 5 points from the published figure (ours / published): {''.join(far) or 'none.'}".replace(": \n", ":\n\n", 1)


def by_attack(name: str) -> str:
    """Rules × attacks for each setting, as Markdown, without empty columns."""
    found = [worst_case_table(table, matched(table, published(name))) for table in results(name).tables()]
    return "\n".join(grid.without_empty().markdown() for grid in found).strip()


def figures(name: str) -> str:
    """The page's lines that show the figure of each setting."""
    labels = [describe(table.setting) for table in results(name).tables()]
    return "\n".join(f"![Rules × attacks{', ' * bool(label)}{label}]({figure_file(name, label)})" for label in labels)


def figure_file(name: str, label: str) -> str:
    """Where the figure of one setting lies, from the page."""
    spelled = re.sub(r"[^a-z0-9.]+", "-", label.lower())
    return f"figures/{name}{'-' * bool(spelled)}{spelled}.svg"


def on_the_scale_of_training() -> str:
    """FLANDERS' table of 20 attackers with held-out images scaled as in training, as Markdown."""
    tables = results("flanders", best_on_the_scale_of_training).tables()
    found = next(table for table in tables if table.cells[0].config["num_malicious"] == 20)
    grid = worst_case_table(found).without_empty()
    return replace(grid, title="20 attackers, held-out images on the scale of training").markdown().strip()


def masks() -> str:
    """Bucketing's figures with the same dropout masks in all rounds, beside those with new ones in each round, and published."""
    new = {_place(pair): pair.ours for pair in pairs("bucketing")}
    same = pairs("bucketing", SAME_MASKS)
    rows = [(*map(Field, _place(pair)), *map(_percent, (new.get(_place(pair)), pair.ours, pair.theirs))) for pair in same]
    head = ("rule", "attack", "setting", "new masks in each round", "the same masks", "published")
    return Table("The same dropout masks in all rounds", head, tuple(rows)).markdown().strip()


def _place(pair: Pair) -> tuple[str, str, str]:
    return pair.rule, pair.attack, pair.setting


def _percent(value: float | None) -> Field:
    return Field("–" if value is None else f"{100 * value:.1f}")


def by_setting(name: str) -> str:
    """The worst case over attacks, gamma × f for each rule, as Markdown."""
    found, known = results(name), published(name)
    return "\n".join(_gamma_by_f(found, known, rule).markdown() for rule in found.rules).strip()


def _gamma_by_f(found: Study, known: Sequence[Published], rule: str) -> Table:
    tables = sorted(found.tables(), key=lambda table: table.cells[0].config["rounds"])
    at = {(table.cells[0].config["gamma"], table.cells[0].config["f"]): table for table in tables}
    fs = values(found.cells, "f")
    gammas = values(found.cells, "gamma")
    rows = [(Field(f"gamma {gamma:g}"), *(_worst(at.get((gamma, f)), found, known, rule) for f in fs)) for gamma in gammas]
    return Table(f"{rule}: worst case, ours / published", ("", *(f"f = {f}" for f in fs)), tuple(rows))


def _worst(table: WorstCase | None, found: Study, known: Sequence[Published], rule: str) -> Field:
    if table is None or not score(table, rule, WORST).known:
        return Field("–")
    ours, steps = score(table, rule, WORST).mean, table.cells[0].config["rounds"]
    bound, shorter = "" if whole(table, rule, found) else "≤ ", f" ({steps} steps)" if steps < STEPS else ""
    return Field(f"{bound}{100 * ours:.1f}", f"/ {100 * matched(table, known)[rule, WORST].accuracy:.0f}{shorter}", number=ours)


def filled(text: str, content: Mapping[str, str]) -> str:
    """The page's text with each marked block replaced."""
    for name, block in content.items():
        pattern = re.escape(MARKED).replace(re.escape("{name}"), name).replace(re.escape("{text}"), ".*?")
        marked = MARKED.format(name=name, text=block)
        text, count = re.subn(pattern, lambda _: marked, text, flags=re.DOTALL)  # noqa: B023
        if count != 1:
            raise ValueError(f"{PAGE.name} must hold the marks of {name!r} once, found {count}")
    return text


def draw() -> None:
    """The figures that the page shows: rules × attacks; SVG, dark on a dark screen."""
    shown = PAGE.read_text(encoding="utf-8")
    for old in HERE.glob("figures/*.svg"):
        old.unlink()
    with mpl.rc_context(RC):
        for name in NAMES:
            for drawing in matrices(results(name)):
                file = figure_file(name, drawing.label)
                if f"({file})" in shown:
                    (HERE / file).write_bytes(svg_of(drawing.figure))


def shorten(path: Path) -> None:
    """Keep the last result of each cell, sorted by configuration: values of `DIGITS` digits, of the rounds with an evaluated model."""
    results = sorted(read(path), key=lambda result: json.dumps(result.config, sort_keys=True))
    shortened = [replace(each, history=_rounded(_thinned(each.history, each.config)), final=_rounded(each.final)) for each in results]
    lines = [json.dumps(result.to_json(), sort_keys=True, separators=(",", ":")) for result in shortened]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _thinned(history: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    kept = evaluated(config["rounds"], config["evaluate_every"])
    return {name: values if name in MODEL_MEASURES else _only(kept, values) for name, values in history.items()}


def _only(kept: set[int], values: list[Any] | None) -> list[Any] | None:
    return values and [value if k in kept else None for k, value in enumerate(values, 1)]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def main() -> None:
    """Shorten the results, fill in the page, draw."""
    (HERE / "figures").mkdir(exist_ok=True)
    for path in filter(Path.exists, map(file_of, NAMES)):
        shorten(path)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), blocks()), encoding="utf-8")
    draw()


if __name__ == "__main__":
    main()
