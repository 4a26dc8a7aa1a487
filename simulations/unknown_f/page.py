"""Writes the tables of docs/unknown-f.md from the committed results: python -m simulations.unknown_f.page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.report.scores import Score
from flwr_byzantine.experiments.report.settings import load, rules_of
from flwr_byzantine.experiments.report.tables import EMPTY, percent
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.monitor.show.table import Field, Table
from flwr_byzantine.rules.parsing import AUTO, largest, parse_strategy
from simulations.reproductions.page import filled, shorten

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "unknown-f.md"
DIGITS = ("digits", "detectors")
SWEEPS = (*DIGITS, "mnist")
FEW, MANY = 2, 8
NEEDS_NONE = ("fedavg", "median", "geometric-median")


def results(*names: str) -> list[Result]:
    """The committed results of these sweeps, those on digits by default."""
    return [cell for name in names or DIGITS for cell in load(HERE / f"{name}.jsonl")]


def auto(rule: str, n: int = 20) -> int:
    """What f="auto" is for a rule at so many clients."""
    found = parse_strategy(rule, 0)
    return 0 if found is None else largest(found, n).f


def told(rule: str) -> list[int]:
    """The numbers f that a rule is told: 0, the few, the many, and auto."""
    return [auto(rule)] if rule in NEEDS_NONE or "+mean" in rule else sorted({0, FEW, MANY, auto(rule)})


def score(cells: Iterable[Result], rule: str, f: int, bad: int, attack: str) -> Score:
    """The accuracy of a rule told f where so many attack, over seeds."""
    wanted = {"f": f, "num_malicious": bad}
    return Score.of(c for c in cells if (c.rule, c.attack) == (rule, attack) and all(c.config[k] == v for k, v in wanted.items()))


def attacks(cells: Iterable[Result]) -> list[str]:
    """The attacks, by name."""
    return sorted({cell.attack for cell in cells} - {NO_ATTACK})


def accuracies(cells: Sequence[Result]) -> Table:
    """A row for each rule and f that it is told, a column for each attack by few and by many."""
    columns = [(0, NO_ATTACK), *((bad, attack) for bad in (FEW, MANY) for attack in attacks(cells))]
    header = ("rule", "f told", "nobody attacks", *(f"{bad} of 20: {attack}" for bad, attack in columns[1:]))
    pairs = [(rule, f) for rule in rules_of(cells) for f in told(rule)]
    rows = tuple((Field(rule), _told(rule, f), *(percent(score(cells, rule, f, *column)) for column in columns)) for rule, f in pairs)
    return Table("Accuracy in percent", header, rows)


def _told(rule: str, f: int) -> Field:
    if rule in NEEDS_NONE or "+mean" in rule:
        return EMPTY
    return Field(f"{f} ({AUTO})" if f == auto(rule) else str(f))


def worst(cells: Sequence[Result], rule: str, f: int, bad: int) -> float:
    """The least over attacks of the mean over seeds."""
    return min(score(cells, rule, f, bad, attack).mean for attack in attacks(cells))


def costs(cells: Sequence[Result]) -> Table:
    """What f="auto" costs each rule that needs f, and what it saves, in percentage points."""
    header = ("rule", "f=auto at 20", "nobody attacks: auto for 0", f"{FEW} attack: auto for {FEW}", f"{MANY} attack: auto for {FEW}")
    rules = [rule for rule in rules_of(cells) if len(told(rule)) > 1]
    return Table("Gained or lost by auto, in points", header, tuple(_costs(cells, rule) for rule in rules))


def _costs(cells: Sequence[Result], rule: str) -> tuple[Field, ...]:
    f = auto(rule)
    honest = score(cells, rule, f, 0, NO_ATTACK).mean - score(cells, rule, 0, 0, NO_ATTACK).mean
    gains = [honest, *(worst(cells, rule, f, bad) - worst(cells, rule, FEW, bad) for bad in (FEW, MANY))]
    return Field(rule), Field(str(f)), *(Field(f"{100 * gain:+.1f}", number=gain) for gain in gains)


def mean_cost(cells: Sequence[Result]) -> float:
    """What auto costs without attack, in the mean over rules, in points."""
    rules = [rule for rule in rules_of(cells) if len(told(rule)) > 1]
    return 100 * fmean(score(cells, rule, auto(rule), 0, NO_ATTACK).mean - score(cells, rule, 0, 0, NO_ATTACK).mean for rule in rules)


def texts() -> dict[str, str]:
    """The tables by the names that the page has them under."""
    digits, mnist = results(), results("mnist")
    tables = {"costs": costs(digits), "accuracies": accuracies(digits), "mnist-costs": costs(mnist), "mnist": accuracies(mnist)}
    return {name: table.markdown().strip() for name, table in tables.items()}


def main() -> None:
    """Shorten the results, fill in the page."""
    for name in SWEEPS:
        shorten(HERE / f"{name}.jsonl")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), texts()), encoding="utf-8")


if __name__ == "__main__":
    main()
