"""Our figures beside the published ones: each taken of a run as the publication takes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean

from flwr_byzantine.experiments.report.published import Published, matched, read_published
from flwr_byzantine.experiments.report.scores import WORST, Score, WorstCase
from flwr_byzantine.experiments.report.settings import describe, load
from flwr_byzantine.experiments.report.study import Study, study
from flwr_byzantine.experiments.results import Result

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
    return fmean(cell.curve()[cell.config["rounds"] - 4 * 30 :: 30])


def best(cell: Result) -> float:
    """ByzFL: the best of the evaluations every 50 rounds."""
    return max(cell.curve()[::50])


NAMES: dict[str, Statistic] = {"flanders": best_from_the_third, "bucketing": last_five, "byzfl": best}


def results(name: str, statistic: Statistic | None = None) -> Study:
    """The committed results of one reproduction, whose accuracy is the statistic of a run; None is what the publication takes."""
    cells, taken = load(HERE / "results" / f"{name}.jsonl"), statistic or NAMES[name]
    return study([replace(_as_published(cell), final=cell.final | {"accuracy": taken(cell)}) for cell in cells])


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
    """A published figure and ours, one value for each seed."""

    setting: str
    rule: str
    attack: str
    values: tuple[float, ...]
    theirs: float

    @property
    def ours(self) -> float:
        """The mean over seeds."""
        return fmean(self.values)

    @property
    def near(self) -> bool:
        """Whether they are within 5 points of each other."""
        return abs(self.ours - self.theirs) <= NEAR

    @property
    def among(self) -> bool:
        """Whether the published figure lies in the range of our seeds."""
        return min(self.values) <= self.theirs <= max(self.values)

    def __str__(self) -> str:
        seeds = ", ".join(f"{100 * value:.1f}" for value in self.values)
        said = f" (seeds: {seeds}{'; theirs is in this range' * self.among})" * (len(self.values) > 1)
        place = f"{self.rule} under {self.attack}{', ' * bool(self.setting)}{self.setting}"
        return f"{place}: {100 * self.ours:.1f} / {100 * self.theirs:.1f}{said}"


def pairs(name: str) -> list[Pair]:
    """Each published figure that stands beside one of ours."""
    found, study_of = [], results(name)
    for table in study_of.tables():
        for (rule, attack), entry in matched(table, published(name)).items():
            ours = Score() if attack == WORST and not whole(table, study_of) else score(table, rule, attack)
            found += [Pair(describe(table.setting), rule, attack, ours.values, entry.accuracy)] * ours.known
    return found


def score(table: WorstCase, rule: str, attack: str) -> Score:
    """Ours, of no seed where it was not run."""
    return next((row.column(attack) for row in table.rows if row.rule == rule), Score())


def whole(table: WorstCase, study_of: Study) -> bool:
    """Whether each rule met all attacks of the study in the table's setting; else its worst case there is a bound."""
    return set(table.attacks) == set(study_of.attacks) and all(row.complete for row in table.rows)


def orders(name: str) -> list[bool]:
    """Of each two rules under one attack whose published figures are more than 5 points apart: whether ours have their order."""
    beside = [(a, b) for a, b in combinations(pairs(name), 2) if (a.setting, a.attack) == (b.setting, b.attack)]
    return [(a.ours > b.ours) == (a.theirs > b.theirs) for a, b in beside if abs(a.theirs - b.theirs) > NEAR]
