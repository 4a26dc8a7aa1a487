"""Writes the tables and the figure of README.md from the committed results: python -m simulations.detection.page."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from flwr_byzantine.experiments.measures import FINAL_ROUNDS
from flwr_byzantine.experiments.report import detection as report
from flwr_byzantine.experiments.report.settings import load, rules_of
from flwr_byzantine.experiments.report.study import study
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.monitor.show.figures import in_style, svg_of
from flwr_byzantine.monitor.show.table import Field, Table
from simulations.reproductions.page import filled, shorten

HERE = Path(__file__).parent
PAGE, ROC = HERE / "README.md", HERE / "roc.svg"
SWEEPS = ("mnist", "digits", "flanders", "fldetector")
LOUD = ("sign-flip (scale=3)", "scaling", "backdoor (boost=5)")
GOOD = 0.95  # precision and recall of a detector that has found them


def cells(name: str) -> list[Result]:
    """The committed results of one sweep."""
    return load(HERE / f"{name}.jsonl")


def attacks_of(found: Iterable[Result]) -> list[str]:
    """The attacks: the loud ones, then the quiet ones by name."""
    names = {cell.attack for cell in found}
    return [*(name for name in LOUD if name in names), *sorted(names - set(LOUD))]


def mean(found: Iterable[Result], measure: str) -> float:
    """A figure over the seeds that have it; NaN where none has."""
    known = [value for cell in found if not math.isnan(value := cell.value(measure))]
    return fmean(known) if known else math.nan


def of(found: Iterable[Result], rule: str, attack: str, **config: object) -> list[Result]:
    """The cells of one rule under one attack."""
    return [c for c in found if (c.rule, c.attack) == (rule, attack) and all(c.config[key] == value for key, value in config.items())]


def precision_recall(found: Sequence[Result]) -> tuple[float, float]:
    """Both, over seeds; a run in which nobody was left out has a recall of 0 and no precision."""
    return mean(found, "precision"), mean(found, "recall")


def pairs(found: Sequence[Result]) -> Table:
    """Precision / recall in percent, detectors × attacks; those of `GOOD` and more bold."""
    attacks = attacks_of(found)
    rows = tuple((Field(rule), *(pair(of(found, rule, attack)) for attack in attacks)) for rule in rules_of(found))
    return Table("Precision / recall in percent", ("", *attacks), rows)


def at_end(found: Sequence[Result]) -> Table:
    """As `pairs`, of the last three rounds."""
    attacks = attacks_of(found)
    last = [replace(cell, final={name: lately(cell, name) for name in ("precision", "recall")}) for cell in found]
    rows = tuple((Field(rule), *(pair(of(last, rule, attack)) for attack in attacks)) for rule in rules_of(found))
    return Table("Precision / recall of the last three rounds, in percent", ("", *attacks), rows)


def lately(cell: Result, measure: str) -> float:
    """Mean over the last three rounds that have one."""
    known = [value for value in cell.curve(measure)[-FINAL_ROUNDS:] if not math.isnan(value)]
    return fmean(known) if known else math.nan


def pair(found: Sequence[Result]) -> Field:
    """One entry of `pairs`."""
    precision, recall = precision_recall(found)
    if not found:
        return Field("–")
    return Field(f"{shown(precision)} / {shown(recall)}", best=min(precision, recall) >= GOOD)


def shown(value: float) -> str:
    """A share in percent; "–" for none."""
    return "–" if math.isnan(value) else f"{100 * value:.0f}"


def areas(found: Sequence[Result]) -> Table:
    """AUC in percent, detectors × attacks."""
    attacks = attacks_of(found)
    rows = ((Field(rule), *(Field(shown(mean(of(found, rule, attack), "auc"))) for attack in attacks)) for rule in rules_of(found))
    return Table("AUC of the scores in percent", ("", *attacks), tuple(rows))


def times(found: Sequence[Result]) -> Table:
    """Rounds until the median attacker is left out, first and for good, detectors × attacks."""
    attacks = attacks_of(found)
    rows = tuple((Field(rule), *(_times(of(found, rule, attack)) for attack in attacks)) for rule in rules_of(found))
    return Table("Attacks until left out: first / for good", ("", *attacks), rows)


def _times(found: Sequence[Result]) -> Field:
    return Field(" / ".join(report.rounds(found, name).text for name in ("rounds_to_first", "rounds_to_good"))) if found else Field("–")


def lost(found: Sequence[Result]) -> Table:
    """Honest clients lost, and accuracy, in percent, detectors × attacks."""
    attacks = attacks_of(found)
    rows = tuple((Field(rule), *(_lost(of(found, rule, attack)) for attack in attacks)) for rule in rules_of(found))
    return Table("Honest clients lost / test accuracy, in percent", ("", *attacks), rows)


def _lost(found: Sequence[Result]) -> Field:
    return Field(f"{shown(mean(found, 'honest_lost'))} / {shown(mean(found, 'accuracy'))}") if found else Field("–")


def heterogeneity(found: Sequence[Result]) -> Table:
    """Precision / recall on digits: detectors × attacks and α."""
    columns = [(attack, alpha) for attack in attacks_of(found) for alpha in sorted({cell.config["alpha"] for cell in found})]
    header = ("", *(f"{attack}, α = {alpha:g}" for attack, alpha in columns))
    rows = ((Field(rule), *(pair(of(found, rule, attack, alpha=a)) for attack, a in columns)) for rule in rules_of(found))
    return Table("Precision / recall in percent, by α", header, tuple(rows))


def best(found: Sequence[Result], attack: str) -> tuple[str, float, float]:
    """Whose lesser one of precision and recall is largest under an attack, all of them where several are, with both figures."""
    everyone = {rule: precision_recall(of(found, rule, attack)) for rule in rules_of(found)}
    least = {rule: min(0.0 if math.isnan(value) else value for value in both) for rule, both in everyone.items()}
    names = [rule for rule in least if least[rule] == max(least.values())]
    return ", ".join(names), *everyone[names[0]]


def bests(found: Sequence[Result]) -> Table:
    """The best of each attack."""
    rows = [(attack, rule, shown(p), shown(r)) for attack in attacks_of(found) for rule, p, r in [best(found, attack)]]
    return Table.of("The best under each attack, of all rounds", ("attack", "best", "precision", "recall"), rows)


def published(found: Sequence[Result]) -> Table:
    """Precision and recall in FLANDERS' setting: ours, of two detectors, and theirs."""
    theirs = tomllib.loads((HERE / "published.toml").read_text(encoding="utf-8"))["entries"]
    rules = rules_of(found)
    rows = [[e["attack"], _theirs(e), *(pair(of(found, rule, e["attack"])).text for rule in rules)] for e in theirs]
    return Table.of("Precision / recall in percent, MNIST, 20 of 100", ("attack", "FLANDERS, published", *rules), rows)


def _theirs(entry: Mapping[str, float]) -> str:
    return f"{100 * entry['precision']:.0f} / {100 * entry['recall']:.0f}"


def in_their_terms(found: Sequence[Result]) -> Table:
    """FLDetector's DACC, FPR and FNR of the last three rounds: right verdicts, honest clients left out, attackers let in."""
    degrees = sorted({cell.config["gamma"] for cell in found})
    header = ("attack", *("iid" if gamma == 1 else "non-iid degree 0.5" for gamma in degrees))
    (rule,) = rules_of(found)
    rows = [[attack, *(_rates(of(found, rule, attack, gamma=gamma)) for gamma in degrees)] for attack in attacks_of(found)]
    return Table.of(f"DACC / FPR / FNR of {rule}, MNIST, 28 of 100", header, rows)


def _rates(found: Sequence[Result]) -> str:
    (cell,) = found
    alarms, misses = lately(cell, "false_alarms"), 1 - lately(cell, "recall")
    share = cell.config["num_malicious"] / cell.config["num_clients"]
    return " / ".join(f"{value:.2f}" for value in (1 - share * misses - (1 - share) * alarms, alarms, misses))


def texts() -> dict[str, str]:
    """The tables by the names that the page has them under."""
    mnist = cells("mnist")
    tables = {"bests": bests(mnist), "at_end": at_end(mnist), "pairs": pairs(mnist), "areas": areas(mnist), "times": times(mnist)}
    found = {name: table.markdown().strip() for name, table in (tables | {"lost": lost(mnist)}).items()}
    others = {"heterogeneity": heterogeneity(cells("digits")), "published": published(cells("flanders"))}
    others["fldetector"] = in_their_terms(cells("fldetector"))
    return found | {name: table.markdown().strip() for name, table in others.items()}


def roc() -> bytes:
    """The ROC curves on MNIST."""
    with in_style():
        (drawing,) = report.rocs(study(cells("mnist")))
        return svg_of(drawing.figure)


def main() -> None:
    """Shorten the results, draw, fill in the page."""
    for name in SWEEPS:
        shorten(HERE / f"{name}.jsonl")
    ROC.write_bytes(roc())
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), texts()), encoding="utf-8")


if __name__ == "__main__":
    main()
