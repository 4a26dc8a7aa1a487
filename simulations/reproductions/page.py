"""Writes the tables and figures of README.md from the committed results: python -m simulations.reproductions.page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl

from flwr_byzantine.experiments.measures import MODEL_MEASURES, evaluated
from flwr_byzantine.experiments.report.heatmaps import maps, matrices
from flwr_byzantine.experiments.report.published import Published, matched, read_published
from flwr_byzantine.experiments.report.scores import WORST, WorstCase
from flwr_byzantine.experiments.report.settings import load, values
from flwr_byzantine.experiments.report.study import Study, study
from flwr_byzantine.experiments.report.tables import worst_case_table
from flwr_byzantine.experiments.results import read
from flwr_byzantine.monitor.show.figures import RC, svg_of
from flwr_byzantine.monitor.show.table import Field, Table
from flwr_byzantine.rules.parsing import FEDAVG

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
NAMES = ("flanders", "bucketing", "byzfl")
RULES = ("krum", "median", "geometric-median", "centered-clipping (max_iter=3, tau=10)", "mean")
DIGITS = 5  # of the committed values
MARKED = "<!-- {name} -->\n{text}\n<!-- end of {name} -->"


def results(name: str) -> Study:
    """The committed results of one reproduction."""
    return study(load(HERE / "results" / f"{name}.jsonl"))


def published(name: str) -> list[Published]:
    """The published figures of one reproduction."""
    return read_published(HERE / "published" / f"{name}.toml")


def blocks() -> dict[str, str]:
    """The generated parts of the page by name, from the results."""
    return {
        "flanders": by_attack("flanders"),
        "flanders-held-against": against_published("flanders"),
        "bucketing": by_attack("bucketing"),
        "bucketing-mixing": by_mixing("bucketing"),
        "byzfl": by_setting("byzfl"),
    }


def by_attack(name: str) -> str:
    """Rules × attacks for each setting, as Markdown, without empty columns."""
    found = [worst_case_table(table, matched(table, published(name))) for table in results(name).tables()]
    return "\n".join(grid.without_empty().markdown() for grid in found).strip()


Pair = tuple[float, float]
"""Ours, and the published figure of the same rule under the same attack."""


def pairs(name: str) -> dict[tuple[str, str], Pair]:
    """For each published figure of a rule that was run, by (rule, attack): ours, the best where several settings were run, and theirs."""
    found: dict[tuple[str, str], Pair] = {}
    for table in results(name).tables():
        for (rule, attack), entry in matched(table, published(name)).items():
            ours = max((row.column(attack).mean for row in table.rows if row.rule == rule), default=float("nan"))
            if ours == ours and attack != WORST:
                found[rule, attack] = max((ours, entry.accuracy), found.get((rule, attack), (0.0, entry.accuracy)))
    return found


def best(name: str) -> dict[str, Pair]:
    """For each attack the best of our robust rules, and the best published."""
    tables, known = results(name).tables(), published(name)
    ours = [(attack, row.column(attack).mean) for table in tables for row in table.rows for attack in table.attacks if row.rule != FEDAVG]
    theirs = [(attack, entry.accuracy) for table in tables for (_, attack), entry in matched(table, known).items()]
    return {attack: (_top(ours, attack), _top(theirs, attack)) for attack in tables[0].attacks if attack in dict(theirs)}


def _top(scores: Sequence[tuple[str, float]], attack: str) -> float:
    return max(score for name, score in scores if name == attack and score == score)


def against_published(name: str) -> str:
    """Where ours is below the published figure of the same rule, and the best against the best."""
    below = [f"{rule} under {attack} ({_percents(pair)})" for (rule, attack), pair in sorted(pairs(name).items()) if pair[0] < pair[1]]
    tops = [f"{attack} {_percents(pair)}" for attack, pair in best(name).items()]
    count = f"{len(pairs(name)) - len(below)} of {len(pairs(name))}"
    same = f"Same rule, ours / published: {count} at least as good; below: {', '.join(below) or 'none'}."
    return f"{same}\n\nBest robust rule, ours / published: {', '.join(tops)}."


def _percents(pair: Pair) -> str:
    return f"{100 * pair[0]:.1f} / {100 * pair[1]:.1f}"


def by_momentum(name: str) -> dict[float, dict[str, Pair]]:
    """The mean over the attacks for each worker momentum and rule, ours and published (NaN where one is missing)."""
    found: dict[float, dict[str, Pair]] = {}
    for table in results(name).tables():
        known = matched(table, published(name))
        theirs = {
            row.rule: [known[row.rule, a].accuracy if (row.rule, a) in known else math.nan for a in table.attacks] for row in table.rows
        }
        means = {row.rule: (fmean(row.column(a).mean for a in table.attacks), fmean(theirs[row.rule])) for row in table.rows}
        found[table.cells[0].config["momentum"]] = means
    return dict(sorted(found.items(), reverse=True))


def by_mixing(name: str) -> str:
    """Means over the attacks, rules × what is before them, for each momentum, as Markdown."""
    return "\n".join(_mixing_table(momentum, means).markdown() for momentum, means in by_momentum(name).items()).strip()


def _mixing_table(momentum: float, means: Mapping[str, Pair]) -> Table:
    alone = [rule for rule in RULES if rule in means and not math.isnan(means[rule][0])]
    rows = [(Field(rule), *(_mean(means.get(before + rule)) for before in ("", "bucketing+", "nnm+"))) for rule in alone]
    title = f"Mean over the five attacks, worker momentum {momentum:g}: ours / published"
    return Table(title, ("rule", "alone", "bucketing", "NNM"), tuple(rows))


def _mean(pair: Pair | None) -> Field:
    if pair is None or math.isnan(pair[0]):
        return Field("–")
    return Field(f"{100 * pair[0]:.1f}", "" if math.isnan(pair[1]) else f"/ {100 * pair[1]:.1f}", number=pair[0])


def by_setting(name: str) -> str:
    """The worst case over attacks, gamma × f for each rule, as Markdown."""
    found, known = results(name), published(name)
    return "\n".join(_gamma_by_f(found, known, rule).markdown() for rule in found.rules).strip()


def _gamma_by_f(found: Study, known: Sequence[Published], rule: str) -> Table:
    at = {(dict(table.setting)["gamma"], dict(table.setting)["f"]): table for table in found.tables()}
    fs = values(found.cells, "f")
    rows = [(Field(f"gamma {gamma:g}"), *(_worst(at[gamma, f], known, rule) for f in fs)) for gamma in values(found.cells, "gamma")]
    return Table(f"{rule}: worst case, ours / published", ("", *(f"f = {f}" for f in fs)), tuple(rows))


def _worst(table: WorstCase, known: Sequence[Published], rule: str) -> Field:
    row, theirs = table.row(rule), matched(table, known)[rule, WORST]
    return Field(f"{100 * row.worst.mean:.1f}", f"/ {100 * theirs.accuracy:.0f}", number=row.worst.mean)


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
    """The figures: rules × attacks, and the heat-maps of the worst case; SVG, dark on a dark screen."""
    with mpl.rc_context(RC):
        found = {name: matrices(results(name)) for name in NAMES[:2]} | {"byzfl": maps(results("byzfl"))[:1]}
        for name, drawings in found.items():
            for drawing in drawings:
                label = re.sub(r"[^a-z0-9.]+", "-", drawing.label.lower()) if len(drawings) > 1 else ""
                (HERE / "figures" / f"{name}{'-' * bool(label)}{label}.svg").write_bytes(svg_of(drawing.figure))


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
    for name in NAMES:
        shorten(HERE / "results" / f"{name}.jsonl")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), blocks()), encoding="utf-8")
    draw()


if __name__ == "__main__":
    main()
