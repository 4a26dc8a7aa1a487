"""The tables of a run's page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flwr_byzantine.monitor.records import QUARANTINE, SKIPPED, STATUSES, NodeRecord
from flwr_byzantine.monitor.show.table import Field, Table
from flwr_byzantine.strategy.report import RoundReport, Suspicion

SLOWEST = 15  # nodes
REASONS = 200  # rows
LEAST = 4  # columns that stay though they say nothing
EMPTY = ("", "0")  # what says nothing in the table of nodes
Rows = tuple[tuple[Field, ...], ...]
SPELLS = 8  # of round numbers that are written out


def nodes_table(records: Sequence[NodeRecord], rounds: Sequence[int]) -> Table:
    """Every node with what became of its replies, the most suspicious first."""
    rows = []
    for record in records:
        number, reason = record.last_reason()
        banned = sum(record.at(each) == QUARANTINE for each in rounds) if record.bans else 0
        counts = [_count(record.count(status)) for status in (*STATUSES, SKIPPED)] + [_count(banned)]
        share = sum(record.weights.values()) / max(1, len(record.statuses))
        said = Field(reason, f"round {number}") if reason else Field("")
        rows.append((Field(record.name), _number(record.suspicion, 1), *counts, _number(share, 3), said))
    header = ("node", "suspicion", *STATUSES, SKIPPED, QUARANTINE, "mean weight", "last reason")
    return Table("Nodes, the most suspicious first", *_without(header, rows, EMPTY))


def reasons_table(records: Sequence[NodeRecord]) -> Table | None:
    """Why replies were not used, but for what the rule left out: each node's reasons with their rounds."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for record in records:
        for number, reason in record.reasons.items():
            status = record.statuses[number]
            if status != "rejected":
                found.setdefault((record.name, status, reason), []).append(number)
    rows = [
        (Field(name), Field(status), Field(reason), _count(len(numbers)), Field(spells(numbers)))
        for (name, status, reason), numbers in found.items()
    ]
    notes = (f"{len(rows) - REASONS} more are left out.",) if len(rows) > REASONS else ()
    return (
        Table("Why replies were not used", ("node", "status", "reason", "times", "rounds"), tuple(rows[:REASONS]), notes) if rows else None
    )


def quarantine_table(records: Sequence[NodeRecord]) -> Table | None:
    """Who was in quarantine when, and why."""
    bans = sorted(((ban, record.name) for record in records for ban in record.bans), key=lambda pair: (pair[0].after, pair[1]))
    rows = [
        (Field(name), Field(f"{ban.after + 1} to {ban.until}" if ban.until else f"{ban.after + 1} on, for good"), Field(ban.why))
        for ban, name in bans
    ]
    return Table("Quarantine", ("node", "rounds", "why"), tuple(rows)) if rows else None


def detectors_table(reports: Sequence[RoundReport]) -> Table | None:
    """Whom a detector left out in some round: how often, in which rounds, and what it said last; the most often left out first."""
    found: dict[tuple[str, str], list[tuple[int, Suspicion]]] = {}
    for report in reports:
        for node, entry in report.nodes.items():
            for name, said in entry.detections.items():
                found.setdefault((str(node), name), []).append((report.server_round, said))
    rows = [(Field(node), Field(name), *_said(rounds)) for (node, name), rounds in found.items()]
    rows = sorted((row for row in rows if row[2].number), key=lambda row: -row[2].number)
    return (
        Table("Left out by detectors", ("node", "detector", "times", "of", "rounds", "last score", "threshold"), tuple(rows))
        if rows
        else None
    )


def _said(rounds: Sequence[tuple[int, Suspicion]]) -> tuple[Field, ...]:
    out, last = [number for number, said in rounds if not said.kept], rounds[-1][1]
    return _count(len(out)), _count(len(rounds)), Field(spells(out)), _number(last.score, 3), _number(last.threshold, 3)


def slowest_table(records: Sequence[NodeRecord]) -> Table | None:
    """The nodes that took longest to answer, by their median."""
    known = sorted((record for record in records if record.seconds), key=lambda record: -record.slowness)[:SLOWEST]
    rows = [(Field(r.name), _number(r.slowness, 2), _number(max(r.seconds.values()), 2), _count(len(r.seconds))) for r in known]
    return Table("Slowest nodes", ("node", "median seconds", "longest", "answers"), tuple(rows)) if rows else None


def notes_table(reports: Sequence[RoundReport]) -> Table | None:
    """What the reports note, each sentence once with its rounds."""
    found: dict[str, list[int]] = {}
    for report in reports:
        for text in (report.note, *report.notes):
            if text:
                found.setdefault(str(text), []).append(report.server_round)
    rows = [(Field(text), Field(spells(numbers))) for text, numbers in found.items()]
    return Table("Notes", ("what", "rounds"), tuple(rows)) if rows else None


def rounds_table(reports: Sequence[RoundReport]) -> Table:
    """Every round in numbers, the last first."""
    rows = []
    for report in reversed(reports):
        found = report.certificate
        rows.append((
            _count(report.server_round),
            Field("aggregated" if report.aggregated else "skipped"),
            *map(_count, (report.n_sampled, report.n_valid, len(report.with_status("kept")), report.f, report.n_valid - report.min_n)),
            _number(report.kappa, 3),
            Field("" if found is None else "holds" if found.holds else "does not hold"),
            _number(None if found is None else found.sin_alpha, 3),
            _number(None if found is None else found.margin, 3),
            _number(report.seconds, 2),
        ))  # fmt: skip
    header = ("round", "model", "asked", "valid", "kept", "f", "spare", "κ", "certificate", "sin α", "margin", "seconds")
    notes = ("spare: valid replies beyond what the rule needs. margin: 1 - sin α.",)
    return Table("Rounds", *_without(header, rows, ("",)), notes)


def _without(header: Sequence[str], rows: Sequence[Sequence[Field]], empty: Sequence[str]) -> tuple[tuple[str, ...], Rows]:
    """Header and rows without the columns in which every field is one of the empty ones; the first four stay."""
    keep = [i for i in range(len(header)) if i < LEAST or any(row[i].text not in empty for row in rows)]
    return tuple(header[i] for i in keep), tuple(tuple(row[i] for i in keep) for row in rows)


def spells(numbers: Iterable[int]) -> str:
    """Round numbers as a reader would write them.

    Example:
        >>> spells([1, 2, 3, 7, 9, 10])
        '1-3, 7, 9-10'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    said = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join(said[:SPELLS]) + (f" and {len(said) - SPELLS} more" if len(said) > SPELLS else "")


def _count(value: int) -> Field:
    return Field(str(value), number=float(value))


def _number(value: float | None, digits: int) -> Field:
    return Field("") if value is None else Field(f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.3g}", number=value)
