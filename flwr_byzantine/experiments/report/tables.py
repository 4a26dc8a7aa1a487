"""The report's tables: worst cases for each setting, their overview, choices, failures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.report.choice import Choice
from flwr_byzantine.experiments.report.published import Matched, Published, matched
from flwr_byzantine.experiments.report.scores import WORST, Row, Score, WorstCase
from flwr_byzantine.experiments.report.settings import describe, rank, values
from flwr_byzantine.experiments.report.study import Study
from flwr_byzantine.experiments.results import Setting, show, snake
from flwr_byzantine.monitor.show.table import Field, Table, bold_best, to_csv

EMPTY = Field("–")
COST = "honest cost"
OVER = "rounds over f"
OVER_NOTE = "Rounds over f: share of the rounds under attack that held more attackers than f, for which no rule answers."
BOUND = "≤: an attack has no number here, so the worst case may be worse."
PARTIAL = "†: fewer seeds than planned, the others failed."


def percent(score: Score) -> Field:
    """A score in percent, its standard deviation beside it."""
    if not score.values:
        return Field("failed") if score.failed else EMPTY
    if not score.known:
        return Field("NaN")
    deviation = "" if math.isnan(score.std) else f"± {100 * score.std:.1f}"
    return Field(f"{100 * score.mean:.1f}" + "†" * bool(score.failed), deviation, number=score.mean)


def worst_case_table(table: WorstCase, published: Matched | None = None) -> Table:
    """Rules × attacks of one setting, with the worst case and the honest cost, in percent.

    Args:
        table: what to show.
        published: figures to show beside ours.
    """
    published = published or {}
    columns = (*table.attacks, *[WORST] * (table.attacks not in ((), (NO_ATTACK,))))
    own = [_fields(row, columns, published) for row in table.rows]
    marked = bold_best(own, [None, *[True] * len(columns), False])
    only = sorted({rule for rule, _ in published} - {row.rule for row in table.rows})
    rows = (*marked, *(_published_only(rule, columns, published) for rule in only))
    over = _over_f(table, len(only))
    title, header = describe(table.setting) or "Worst case over attacks", ("rule", *columns, COST, *[OVER] * bool(over))
    rows = tuple((*row, *over[i : i + 1]) for i, row in enumerate(rows))
    notes = (*_notes(rows, published), *[OVER_NOTE] * bool(over))
    return Table(title, header, rows, notes, apart=[header.index(WORST)] if WORST in header else [])


def _over_f(table: WorstCase, more: int) -> list[Field]:
    """For each row the rounds with more attackers than f, and nothing for `more` rows; empty where no rule had such rounds."""
    attacked = [cell for cell in table.cells if cell.attack != NO_ATTACK]
    scores = [Score.of((cell for cell in attacked if cell.rule == row.rule), "over_f") for row in table.rows]
    fields = [percent(score) if score.known else EMPTY for score in scores]
    return [*fields, *[EMPTY] * more] if any(score.mean > 0 for score in scores) else []


def _fields(row: Row, columns: Sequence[str], published: Matched) -> list[Field]:
    scores = [_with_published(column_field(row, name), published.get((row.rule, name))) for name in columns]
    return [Field(row.rule), *scores, cost_field(row)]


def cost_field(row: Row) -> Field:
    """The honest cost in percentage points."""
    return EMPTY if math.isnan(row.cost) else Field(_points(row.cost), number=row.cost)


def _points(share: float) -> str:
    """Percentage points, without a minus before a zero."""
    return f"{round(100 * share, 1) + 0.0:.1f}"


def column_field(row: Row, name: str) -> Field:
    """The score under an attack, or in the worst case, which is a mere bound where an attack has no number."""
    shown = percent(row.column(name))
    if name != WORST or not shown.text[0].isdigit():
        return shown
    if not row.complete:
        return Field(f"≤ {shown.text}", shown.small, note=f"under {row.worst_attack}; other attacks have no number")
    return Field(shown.text, shown.small, number=shown.number, note=f"under {row.worst_attack}")


def _with_published(ours: Field, published: Published | None) -> Field:
    if published is None:
        return ours
    theirs = "NaN" if math.isnan(published.accuracy) else f"{100 * published.accuracy:.1f}"
    difference = 100 * (ours.number - published.accuracy)
    small = f"{ours.small} / {theirs}" + ("" if math.isnan(difference) else f" ({difference:+.1f})")
    return Field(ours.text, small.strip(), number=ours.number, note=f"published: {published.source}")


def _published_only(rule: str, columns: Sequence[str], published: Matched) -> tuple[Field, ...]:
    fields = [_with_published(EMPTY, published.get((rule, name))) for name in columns]
    return (Field(rule, "(published only)"), *fields, EMPTY)


def _notes(rows: Sequence[Sequence[Field]], published: Matched) -> tuple[str, ...]:
    texts = [item.text for row in rows for item in row]
    notes = [BOUND] * any(text.startswith("≤") for text in texts) + [PARTIAL] * any("†" in text for text in texts)
    sources = sorted({entry.source for entry in published.values()})
    if sources:
        notes.append(f"After the stroke: published (ours − published, in points). Source: {'; '.join(sources)}.")
    return tuple(notes)


def overview(tables: Sequence[WorstCase], rules: Sequence[str]) -> Table:
    """The worst case of each rule in each setting: rules × settings, or settings × rules where there are more settings than rules."""
    names = [describe(table.setting) for table in tables]
    found = {(row.rule, name): column_field(row, WORST) for table, name in zip(tables, names, strict=True) for row in table.rows}
    title = "Worst case over attacks, test accuracy in percent"
    columns = [[Field(rule), *(found.get((rule, name), EMPTY) for name in names)] for rule in rules]
    marked = bold_best(columns, [None, *[True] * len(names)])
    if len(names) <= len(rules):
        return Table(title, ("rule", *names), marked)
    keys = [[Field(show(value), number=_size(value)) for _, value in table.setting] for table in tables]
    rows = tuple((*fields, *(row[i] for row in marked)) for i, fields in enumerate(keys, 1))
    return Table(title, (*(key for key, _ in tables[0].setting), *rules), rows, ("Bold: the best rule of a row.",))


def _size(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


CHOICE_NOTES = (
    "Worst case over attacks of the validation accuracy in percent, ± its standard error, over seeds or of counting right answers "
    "(the larger); bold: chosen. The test split had no part in it.",
    "~: tied with the best, that is within one standard error of it, or all where the best is not clearly above chance; of tied "
    "values the middle one of those tried is chosen, and of two the smaller. Within noise: the best is not above the others by "
    "more than the 95 % interval of the difference, so another sweep may choose otherwise.",
)
ONE_SEED = "One seed: these errors do not know how much training itself varies."


def choices_table(study: Study) -> Table:
    """What was chosen for each rule and setting, why, and the validation accuracy that every candidate had in its worst case."""
    return choice_table(study.choices, CHOICE_NOTES + (ONE_SEED,) * (len(values(study.all_cells, "seed")) == 1))


def choice_table(choices: Sequence[Choice], notes: tuple[str, ...] = CHOICE_NOTES, title: str = "Chosen hyper-parameters") -> Table:
    """A row for each choice: the candidates, and what was chosen of them."""
    candidates = sorted({c for choice in choices for c in choice.worst}, key=lambda c: [rank(v) for _, v in c])
    rows = []
    for choice in choices:
        name = f"{choice.rule}, no attack (reference)" if choice.reference else choice.rule
        fields = [_candidate(choice, c) for c in candidates]
        rows.append((Field(name), Field(describe(choice.setting) or "–"), *fields, Field(choice.reason)))
    header = ("rule", "setting", *(describe(c) for c in candidates), "why")
    return Table(title, header, tuple(rows), notes).without_empty()


def _candidate(choice: Choice, candidate: Setting) -> Field:
    found, best = choice.estimates.get(candidate), candidate == choice.values
    if found is None:
        return EMPTY
    if found.mean == -math.inf:
        return Field("no number", best=best)
    mark = "~ " * (len(choice.tied) > 1 and candidate in choice.tied)
    return Field(f"{mark}{100 * found.mean:.1f}", f"± {100 * found.error:.1f}" * (found.error > 0), best, found.mean)


def failures_table(study: Study) -> Table:
    """Each failed cell with its error."""
    keys = [key for key in (*study.keys, *study.chosen_keys) if any(key in cell.config for cell in study.failed)]
    rows = []
    for cell in study.failed:
        where = describe((*cell.setting(keys), ("seed", cell.config.get("seed"))))
        rows.append((Field(cell.rule), Field(cell.attack), Field(where), Field(cell.error or "no error recorded"), Field(cell.key)))
    return Table("Failed cells", ("rule", "attack", "where", "error", "key"), tuple(rows))


def worst_case_csv(tables: Sequence[WorstCase], published: Sequence[Published]) -> str:
    """A line for each setting, rule and attack, the worst case among them as attack "worst"; shares in [0, 1], names in snake_case."""
    keys = [snake(key) for key, _ in tables[0].setting]
    scores = ["attack", "mean", "std", "seeds", "failed", "published"]
    header = [*keys, "rule", *scores, "worst_attack", "complete", snake(COST)]
    return to_csv(header, [line for table in tables for line in _csv_lines(table, matched(table, published))])


def _csv_lines(table: WorstCase, published: Matched) -> Iterable[list[object]]:
    setting = [value for _, value in table.setting]
    for row in table.rows:
        for name in (*table.attacks, WORST):
            score, entry = row.column(name), published.get((row.rule, name))
            theirs = entry.accuracy if entry else math.nan
            scores = [name, score.mean, score.std, len(score.values), score.failed, theirs]
            yield [*setting, row.rule, *scores, row.worst_attack, row.complete, row.cost]


def cells_csv(study: Study) -> str:
    """Every cell in a line, as `Result.flat` has it."""
    rows = [cell.flat() for cell in study.all_cells]
    header = list(dict.fromkeys(name for row in rows for name in row))
    return to_csv(header, [[row.get(name, "") for name in header] for row in rows])
