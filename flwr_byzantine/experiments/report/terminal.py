"""The report on the terminal, in tables that fit its width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.report.scores import WORST, WorstCase
from flwr_byzantine.experiments.report.settings import describe
from flwr_byzantine.experiments.report.tables import EMPTY, column_field, cost_field, percent
from flwr_byzantine.monitor.show.printing import fits, show
from flwr_byzantine.monitor.show.table import Field, Table, bold_best
from flwr_byzantine.monitor.show.terminal import fail, say, warn
from flwr_byzantine.rules.parsing import FEDAVG

if TYPE_CHECKING:
    from rich.console import Console

    from flwr_byzantine.experiments.report.writing import Report

MOST_TABLES = 3


def to_console(report: Report, console: Console) -> None:
    """Print the choices, the tables (the best of each setting where there are many), what failed, and where the page is."""
    content = report.content
    tables = content.study.tables()
    if content.choices:
        show(content.choices, console)
    if len(tables) <= MOST_TABLES:
        for grid, table in zip(content.tables, tables, strict=True):
            _fitting(console, grid, narrow(table))
    else:
        show(best_of(tables), console)
    for entry in content.unmatched:
        warn(f"published, but in no table: {entry.strategy} under {entry.attack}")
    for text in content.study.notices:
        warn(text)
    failed = content.study.failed
    if failed:
        fail(f"{len(failed)} of {len(content.study.all_cells)} cells failed, the first with: {failed[0].error}")
    say(console, f"page: {report.page}")


def _fitting(console: Console, grid: Table, fallback: Table) -> None:
    """Print the widest form of a table that the terminal has room for."""
    for small in (True, False):
        if fits(grid, console, small):
            return show(grid, console, small)
    return show(fallback, console)


def narrow(table: WorstCase) -> Table:
    """A narrow table: each rule with no attack and in its worst case, the attack that is the worst, and the honest cost."""
    fields = [
        [Field(r.rule), percent(r.column(NO_ATTACK)), column_field(r, WORST), Field(r.worst_attack or "–"), cost_field(r)]
        for r in table.rows
    ]
    title = describe(table.setting) or "Worst case over attacks"
    header = ("rule", "no attack", "worst", "under", "honest cost")
    return Table(title, header, bold_best(fields, [None, True, True, None, False])).without_empty()


def best_of(tables: list[WorstCase]) -> Table:
    """For each setting the rule with the best worst case, with FedAvg beside it."""
    rows = []
    for table in tables:
        whole = [row for row in table.rows if row.complete]
        best = max(whole, key=lambda row: row.worst.mean, default=None)
        plain = next((column_field(row, WORST) for row in table.rows if row.rule == FEDAVG), EMPTY)
        rows.append(
            (Field(describe(table.setting)), Field(best.rule if best else "–"), column_field(best, WORST) if best else EMPTY, plain)
        )
    title = "Best rule in the worst case over attacks, test accuracy in percent"
    return Table(title, ("setting", "rule", "worst", "FedAvg"), tuple(rows)).without_empty()
