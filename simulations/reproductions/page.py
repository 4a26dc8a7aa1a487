"""Writes the tables and figures of README.md from the committed results: python -m simulations.reproductions.page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl

from flwr_byzantine.experiments.measures import MODEL_MEASURES, evaluated
from flwr_byzantine.experiments.report.heatmaps import matrices
from flwr_byzantine.experiments.report.published import Published, matched, read_published
from flwr_byzantine.experiments.report.scores import WORST, WorstCase
from flwr_byzantine.experiments.report.settings import describe, load, values
from flwr_byzantine.experiments.report.study import Study, study
from flwr_byzantine.experiments.report.tables import worst_case_table
from flwr_byzantine.experiments.results import Result, read
from flwr_byzantine.monitor.show.figures import RC, svg_of
from flwr_byzantine.monitor.show.table import Field, Table

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
NEAR = 0.05  # a difference to a published figure that needs no explanation
DIGITS = 5  # of the committed values
STEPS = 800  # of ByzFL's runs
MARKED = "<!-- {name} -->\n{text}\n<!-- end of {name} -->"
Statistic = Callable[[Result], float]


def best_from_the_third(cell: Result) -> float:
    """FLANDERS: the best accuracy from the third round on."""
    return max(cell.curve()[3:])


def best_on_the_scale_of_training(cell: Result) -> float:
    """The same on held-out images that are scaled as in training."""
    return max(cell.curve("validation_accuracy")[3:])


def last_five(cell: Result) -> float:
    """Bucketing: the mean of the last five evaluations, one every 30 rounds."""
    return fmean(cell.curve()[cell.config["rounds"] - 4 * 30 :: 30])


def best(cell: Result) -> float:
    """ByzFL: the best of the evaluations every 50 rounds."""
    return max(cell.curve()[::50])


NAMES: dict[str, Statistic] = {"flanders": best_from_the_third, "bucketing": last_five, "byzfl": best}


def results(name: str, statistic: Statistic | None = None) -> Study:
    """The committed results of one reproduction, whose accuracy is the statistic of a run; None is what the publication takes."""
    cells, taken = load(HERE / "results" / f"{name}.jsonl"), statistic or NAMES[name]
    return study([replace(cell, final=cell.final | {"accuracy": taken(cell)}) for cell in cells])


def published(name: str) -> list[Published]:
    """The published figures of one reproduction."""
    return read_published(HERE / "published" / f"{name}.toml")


@dataclass(frozen=True)
class Pair:
    """A published figure and ours."""

    setting: str
    rule: str
    attack: str
    ours: float
    theirs: float

    @property
    def near(self) -> bool:
        """Whether they are within 5 points of each other."""
        return abs(self.ours - self.theirs) <= NEAR

    def __str__(self) -> str:
        return f"{self.rule} under {self.attack}{', ' * bool(self.setting)}{self.setting}: {100 * self.ours:.1f} / {100 * self.theirs:.1f}"


def pairs(name: str) -> list[Pair]:
    """Each published figure that stands beside one of ours."""
    found, study_of = [], results(name)
    for table in study_of.tables():
        for (rule, attack), entry in matched(table, published(name)).items():
            ours = float("nan") if attack == WORST and not whole(table, study_of) else _ours(table, rule, attack)
            found += [Pair(describe(table.setting), rule, attack, ours, entry.accuracy)] * (ours == ours)
    return found


def _ours(table: WorstCase, rule: str, attack: str) -> float:
    """Our mean; NaN where it was not run."""
    row = next((row for row in table.rows if row.rule == rule), None)
    return float("nan") if row is None else row.column(attack).mean


def whole(table: WorstCase, study_of: Study) -> bool:
    """Whether each rule met all attacks of the study in the table's setting; else its worst case there is a bound."""
    return set(table.attacks) == set(study_of.attacks) and all(row.complete for row in table.rows)


def blocks() -> dict[str, str]:
    """The generated parts of the page by name, from the results."""
    tables = {"flanders": by_attack("flanders"), "bucketing": by_attack("bucketing"), "byzfl": by_setting("byzfl")}
    return {
        "counts": counts(),
        **tables,
        "flanders-scale": on_the_scale_of_training(),
        **{f"{name}-beyond": beyond(name) for name in NAMES},
    }


def counts() -> str:
    """How many published figures ours are near, as Markdown."""
    found = {name: pairs(name) for name in NAMES}
    rows = [(Field(name), Field(str(len(of))), Field(str(sum(pair.near for pair in of))), _share(of)) for name, of in found.items()]
    every = [pair for of in found.values() for pair in of]
    total = (Field("together"), Field(str(len(every))), Field(str(sum(pair.near for pair in every))), _share(every))
    return Table("Published figures", ("reproduction", "compared", "within 5 points", "share"), (*rows, total)).markdown().strip()


def _share(of: Sequence[Pair]) -> Field:
    return Field(f"{100 * fmean(pair.near for pair in of):.0f} %") if of else Field("–")


def beyond(name: str) -> str:
    """The pairs that differ by more than 5 points, as Markdown."""
    far = [str(pair) for pair in pairs(name) if not pair.near]
    return f"Further than 5 points from the published figure (ours / published): {'; '.join(far) or 'none'}."


def by_attack(name: str) -> str:
    """Rules × attacks for each setting, as Markdown, without empty columns."""
    found = [worst_case_table(table, matched(table, published(name))) for table in results(name).tables()]
    return "\n".join(grid.without_empty().markdown() for grid in found).strip()


def on_the_scale_of_training() -> str:
    """FLANDERS' table of 20 attackers with held-out images scaled as in training, as Markdown."""
    tables = results("flanders", best_on_the_scale_of_training).tables()
    found = next(table for table in tables if table.cells[0].config["num_malicious"] == 20)
    grid = worst_case_table(found).without_empty()
    return replace(grid, title="20 attackers, held-out images on the scale of training").markdown().strip()


def by_setting(name: str) -> str:
    """The worst case over attacks, gamma × f for each rule, as Markdown."""
    found, known = results(name), published(name)
    return "\n".join(_gamma_by_f(found, known, rule).markdown() for rule in found.rules).strip()


def _gamma_by_f(found: Study, known: Sequence[Published], rule: str) -> Table:
    at = {(table.cells[0].config["gamma"], table.cells[0].config["f"]): table for table in found.tables()}
    fs = values(found.cells, "f")
    gammas = values(found.cells, "gamma")
    rows = [(Field(f"gamma {gamma:g}"), *(_worst(at.get((gamma, f)), found, known, rule) for f in fs)) for gamma in gammas]
    return Table(f"{rule}: worst case, ours / published", ("", *(f"f = {f}" for f in fs)), tuple(rows))


def _worst(table: WorstCase | None, found: Study, known: Sequence[Published], rule: str) -> Field:
    if table is None:
        return Field("–")
    ours, steps = _ours(table, rule, WORST), table.cells[0].config["rounds"]
    bound, shorter = "" if whole(table, found) else "≤ ", f" ({steps} steps)" if steps < STEPS else ""
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
    with mpl.rc_context(RC):
        for name in NAMES:
            for drawing in matrices(results(name)):
                label = re.sub(r"[^a-z0-9.]+", "-", drawing.label.lower())
                file = f"figures/{name}{'-' * bool(label)}{label}.svg"
                if file in shown:
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
    for name in NAMES:
        shorten(HERE / "results" / f"{name}.jsonl")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), blocks()), encoding="utf-8")
    draw()


if __name__ == "__main__":
    main()
