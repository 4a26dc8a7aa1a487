"""Writes the table of README.md from the committed results: python -m simulations.adaptive.page."""

from __future__ import annotations

from pathlib import Path

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.report.scores import Row, Score
from flwr_byzantine.experiments.report.settings import load
from flwr_byzantine.experiments.report.study import study
from flwr_byzantine.monitor.show.table import Field, Table
from simulations.reproductions.page import filled, shorten

HERE = Path(__file__).parent
PAGE, RESULTS, CONFIG = HERE / "README.md", HERE / "results.jsonl", HERE / "adaptive.toml"
GOALS = {goal: f"adaptive (goal={goal})" for goal in ("distance", "descent", "model")}


def rows() -> tuple[Row, ...]:
    """The scores of each rule, over seeds."""
    (table,) = study(load(RESULTS)).tables()
    return tuple(table.rows)


def worst_fixed(row: Row) -> tuple[str, Score]:
    """The attack that is not adaptive under which the rule ends lowest, in the mean over seeds."""
    fixed = {name: score for name, score in row.scores.items() if name not in GOALS.values() and name != NO_ATTACK}
    return min(fixed.items(), key=lambda item: item[1].mean)


def table() -> str:
    """Rules × attacks, as Markdown: accuracies in percent, with deviations; the lowest of each row bold."""
    header = ("rule", "no attack", "worst fixed attack", "", *(f"adaptive, {goal}" for goal in GOALS))
    return Table("Accuracy", header, tuple(_fields(row) for row in rows())).markdown().strip()


def _fields(row: Row) -> tuple[Field, ...]:
    name, fixed = worst_fixed(row)
    scores = [fixed, *(row.scores[attack] for attack in GOALS.values())]
    least = min(score.mean for score in scores)
    shown = [_field(score, score.mean == least) for score in scores]
    return Field(row.rule), _field(row.scores[NO_ATTACK]), Field(name), *shown


def _field(score: Score, best: bool = False) -> Field:
    return Field(f"{100 * score.mean:.1f}", f"± {100 * score.std:.1f}", best, score.mean)


def main() -> None:
    """Shorten the results, fill in the page."""
    shorten(RESULTS)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), {"adaptive": table()}), encoding="utf-8")


if __name__ == "__main__":
    main()
