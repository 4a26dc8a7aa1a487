"""Our figures beside the published ones: each taken of a run as the publication takes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from flwr_byzantine.experiments.report.published import Published, matched, read_published
from flwr_byzantine.experiments.report.scores import WORST, Score, WorstCase
from flwr_byzantine.experiments.report.settings import describe, load
from flwr_byzantine.experiments.report.study import Study, study
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep.cell import Cell

HERE = Path(__file__).parent
NEAR = 0.05  # a difference to a published figure that needs no explanation
OURS = {"BaselineFLANDERS+mean": "flanders+mean", "BaselineMultiKrum": "multi-krum"}  # rules of `rules`, as tables call them
Statistic = Callable[[Result], float]


def best_from_the_third(cell: Result) -> float:
    """FLANDERS: the best accuracy from the third round on."""
    return max(cell.curve()[3:])


def best_on_the_scale_of_training(cell: Result) -> float:
    """The same on held-out images that are scaled as in training."""
    return max(cell.curve("validation_accuracy")[3:])


def last_five(cell: Result) -> float:
    """Bucketing: the mean of the last five evaluations, one every 30 rounds."""
    last = cell.config["rounds"]
    return fmean(cell.curve()[last - 4 * 30 : last + 1 : 30])


def best(cell: Result) -> float:
    """ByzFL: the best of the evaluations every 50 rounds."""
    return max(cell.curve()[::50])


NAMES: dict[str, Statistic] = {
    "flanders": best_from_the_third,
    "flanders-fashion": best_from_the_third,
    "bucketing": last_five,
    "byzfl": best,
}
HALVES = (300, 600)  # rounds of Bucketing's figures: a run serves both
SAME_MASKS = "bucketing-same-masks"  # results of Bucketing's cells with the same dropout masks in all rounds
OF_ATTACKERS = {"attackers_data": "share", "attackers_momentum": True}  # Bucketing's tables hold attacks that differ in these


def file_of(name: str) -> Path:
    """The file of committed results, a reproduction's or `SAME_MASKS`; there is none before any cell has run."""
    return HERE / "results" / f"{name}.jsonl"


def but_rounds(config: Mapping[str, Any]) -> str:
    """A configuration without its number of rounds: a shorter run of a cell is one of its first rounds."""
    return json.dumps({key: value for key, value in config.items() if key != "rounds"}, sort_keys=True)


def committed(file: str) -> list[Result]:
    """The committed results of one file, of runs of one cell the longest."""
    found = load(file_of(file)) if file_of(file).exists() else []
    return list({but_rounds(cell.config): cell for cell in sorted(found, key=lambda cell: cell.config["rounds"])}.values())


def without_result(name: str, cells: Sequence[Cell]) -> int:
    """How many of the configuration's cells have no result of all their rounds."""
    return len({cell.key for cell in cells} - {result.key for result in committed(name)})


def results(name: str, statistic: Statistic | None = None, file: str = "") -> Study:
    """The committed results of one reproduction, whose accuracy is the statistic of a run; None is what the publication takes.

    Args:
        name: of the reproduction.
        statistic: of a run.
        file: that holds the results; "" is the reproduction's own.
    """
    taken = statistic or NAMES[name]
    cells = [part for cell in committed(file or name) for part in (_halves(cell) if name == "bucketing" else [_as_published(cell)])]
    return study([replace(cell, final=cell.final | {"accuracy": taken(cell)}) for cell in cells])


def _halves(cell: Result) -> list[Result]:
    """The result as one of each number of rounds that figures are published of, as far as it ran."""
    return [replace(cell, config=cell.config | OF_ATTACKERS | {"rounds": rounds}) for rounds in HALVES if rounds <= cell.config["rounds"]]


def _as_published(cell: Result) -> Result:
    """The result under the name that a rule of `rules` has in the publication, and without the number that it is told."""
    name = OURS.get(cell.config["strategy"].removeprefix("simulations.reproductions.rules:"))
    if name is None:
        return cell
    options = {key: value for key, value in cell.config["strategy_options"].items() if key not in ("keep", "told")}
    return replace(cell, rule="", config={**cell.config, "strategy": name, "strategy_options": options})


def published(name: str) -> list[Published]:
    """The published figures of one reproduction."""
    return read_published(HERE / "published" / f"{name}.toml")


@dataclass(frozen=True)
class Pair:
    """A published figure and ours, one value for each seed; of theirs where they are published."""

    setting: str
    rule: str
    attack: str
    values: tuple[float, ...]
    theirs: float
    seeds: tuple[float, ...] = ()
    source: str = ""

    @property
    def ours(self) -> float:
        """The mean over seeds."""
        return fmean(self.values)

    @property
    def near(self) -> bool:
        """Whether they are within 5 points of each other."""
        return abs(self.ours - self.theirs) <= NEAR

    @property
    def explained(self) -> bool:
        """Whether seeds make such a difference: the published figure lies in the range of ours, or ours in the range of theirs."""
        return _spans(self.values, self.theirs) or _spans(self.seeds, self.ours)

    def __str__(self) -> str:
        ours, theirs = (", ".join(f"{100 * value:.1f}" for value in values) for values in (self.values, self.seeds))
        known = [f"our seeds: {ours}{'; theirs is in this range' * _spans(self.values, self.theirs)}"] * (len(self.values) > 1)
        known += [f"their seeds: {theirs}{'; ours is in this range' * _spans(self.seeds, self.ours)}"] * bool(self.seeds)
        place = f"{self.rule} under {self.attack}{', ' * bool(self.setting)}{self.setting}"
        return f"{place}: {100 * self.ours:.1f} / {100 * self.theirs:.1f}" + f" ({'; '.join(known)})" * bool(known)


def _spans(values: Sequence[float], other: float) -> bool:
    return bool(values) and min(values) <= other <= max(values)


def pairs(name: str, file: str = "") -> list[Pair]:
    """Each published figure that stands beside one of ours; `file` as for `results`."""
    found, study_of = [], results(name, file=file)
    for table in study_of.tables():
        for (rule, attack), entry in matched(table, published(name)).items():
            ours = Score() if attack == WORST and not whole(table, rule, study_of) else score(table, rule, attack)
            found += [Pair(describe(table.setting), rule, attack, ours.values, entry.accuracy, entry.seeds, entry.source)] * ours.known
    return found


def score(table: WorstCase, rule: str, attack: str) -> Score:
    """Ours, of no seed where it was not run."""
    return next((row.column(attack) for row in table.rows if row.rule == rule), Score())


def whole(table: WorstCase, rule: str, study_of: Study) -> bool:
    """Whether the rule met all attacks of the study in the table's setting; else its worst case there is a bound."""
    return all(score(table, rule, attack).known for attack in study_of.attacks)


def among_seeds(figures: Iterable[Sequence[float]]) -> list[bool]:
    """Of each seed of a figure of three or more: whether it is within 5 points of the mean of the others.

    The share is what a repetition that differs in nothing but the seed can be expected to reach.
    """
    several = [values for values in figures if len(values) > 2]
    return [abs(one - (sum(values) - one) / (len(values) - 1)) <= NEAR for values in several for one in values]


def orders(name: str) -> list[bool]:
    """Of two rules under one attack whose figures, of one source, are more than 5 points apart: whether ours have their order."""
    beside = [(a, b) for a, b in combinations(pairs(name), 2) if (a.setting, a.attack, a.source) == (b.setting, b.attack, b.source)]
    return [(a.ours > b.ours) == (a.theirs > b.theirs) for a, b in beside if abs(a.theirs - b.theirs) > NEAR]
