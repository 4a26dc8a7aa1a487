"""Reads what `report_path=` wrote, whole or while it grows: the reports of each run, and how much of the file is none.

Nothing in a line is believed: a line whose fields are not what a report has is left out and counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.flower.words import printable
from flwr_byzantine.strategy.report import RoundReport

COUNTS = ("server_round", "n_sampled", "n_replied", "n_valid", "f", "min_n")
NEITHER = "{path} holds neither reports of a run (what report_path= writes) nor results of a sweep; its first line begins with {line!r}"
HEAD = 200  # bytes by which a file is known again


@dataclass
class Reports:
    """The reports of a file, by run.

    Attributes:
        runs: name of each run -> round -> its report; of several of one round the last counts.
        lost: lines that are no report: cut off by a kill, or mended by hand.
    """

    runs: dict[str, dict[int, RoundReport]] = field(default_factory=dict)
    lost: int = 0
    _unnamed: int = 0

    def add(self, line: bytes) -> RoundReport | None:
        """Take a line; gives its report where it is one."""
        report = parse(line)
        if report is None:
            self.lost += bool(line.strip())
            return None
        name = self._name(report)
        self.runs[name] = rounds = self.runs.pop(name, {})  # the run of the last line comes last
        rounds[report.server_round] = report
        return report

    def _name(self, report: RoundReport) -> str:
        """The run's id; runs before version 0.2 have none, and begin where rounds are counted anew."""
        if report.run:
            return printable(report.run, 40)
        before = self.runs.get(f"unnamed {self._unnamed}", {})
        self._unnamed += not before or report.server_round <= max(before)
        return f"unnamed {self._unnamed}"

    def of(self, run: str = "") -> tuple[str, list[RoundReport]]:
        """A run's name and its reports in order: the run whose name begins so, or the one that the file ends with.

        Raises:
            InvalidParameter: no run's name begins so, or several do.
        """
        found = [name for name in self.runs if name.startswith(run)]
        if not found or (run and len(found) > 1):
            known = ", ".join(self.runs)
            raise InvalidParameter(f"{'several runs begin' if found else 'no run begins'} with {run!r}; the file has {known}")
        rounds = self.runs[found[-1]]
        return found[-1], [rounds[number] for number in sorted(rounds)]


def parse(line: bytes) -> RoundReport | None:
    """The report that a line holds; None where it is none."""
    try:
        data = json.loads(line)
        report = RoundReport.of(data, _name)
        return report if _sound(report) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _name(node: str) -> int | str:
    """A node's id; whatever else a line has in its place is words."""
    return int(node) if node.isascii() and node.lstrip("-").isdigit() else printable(node, 60)


def _sound(report: RoundReport) -> bool:
    """Whether the fields have the types that they should have."""
    counts = all(type(getattr(report, name)) is int for name in COUNTS)
    numbers = all(_is_number(value) for value in (report.kappa, report.seconds, report.ended, report.planned))
    entries = all(
        type(entry.status) is str and _is_number(entry.weight) and _is_number(entry.score) and _is_number(entry.seconds)
        for entry in report.nodes.values()
    )
    metrics = all(_is_number(value) for found in report.evaluation.values() for value in found.values())
    if (found := report.certificate) is not None:
        numbers = numbers and all(_is_number(value) for value in (found.sin_alpha, found.margin, found.kappa))
    return counts and numbers and entries and metrics and all(type(until) is int for until in report.banned.values())


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def kind(path: Path) -> str:
    """What a file of JSON lines holds, by its content: "reports" of runs, or "results" of a sweep.

    Raises:
        InvalidParameter: neither, both, nothing, or a file that cannot be read; one sentence says which.
    """
    lines = [line for line in _bytes(path).split(b"\n") if line.strip()]
    found = {name for name in map(_kind, lines) if name}
    if len(found) == 1:
        return found.pop()
    if found:
        raise InvalidParameter(f"{path} holds reports of a run and results of a sweep; keep them in two files")
    if not lines:
        raise InvalidParameter(f"{path} is empty: no round of a run has been reported, and no cell of a sweep has ended yet")
    if len(lines) == 1 and lines[0].startswith((b'{"run"', b'{"key"', b'{"server_round"')):
        raise InvalidParameter(f"{path} holds one line that is cut off: whoever wrote it was killed, or is writing now")
    raise InvalidParameter(NEITHER.format(path=path, line=printable(lines[0].decode("utf-8", "replace"), 60)))


def _kind(line: bytes) -> str:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(data, dict):
        return ""
    return "reports" if "server_round" in data and "nodes" in data else "results" if isinstance(data.get("config"), dict) else ""


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidParameter(f"cannot read {path} ({error.strerror}); give the file of report_path= or of a sweep") from None


def read(path: str | Path) -> Reports:
    """The reports in a file, run by run.

    Args:
        path: what `report_path=` names.

    Raises:
        InvalidParameter: the file cannot be read, or there is no report in it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "rounds.jsonl"
        >>> _ = path.write_text(RoundReport(1, 3, 3, 3, 0, "Mean()", True, True, run="a1").to_json())
        >>> read(path).of()[1][0].rule
        'Mean()'
    """
    found = Reports()
    for line in _bytes(Path(path)).split(b"\n"):
        found.add(line)
    if not found.runs:
        raise InvalidParameter(f"{path} holds no report of a run; give the file that report_path= names")
    return found


class Follower:
    """Reads a file while others write it.

    Args:
        path: of a file that need not be there yet.

    Attributes:
        reports: what has been read, since the file was made or made anew.
        there: whether the file was there at the last look.
        again: how often it was found cut or replaced, and read anew.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.reports, self.there, self.again = path, Reports(), False, 0
        self._head, self._at, self._rest = b"", 0, b""

    def look(self) -> list[RoundReport]:
        """The reports that have come since the last look."""
        try:
            with self.path.open("rb") as file:
                self.there = True
                return self._new(file)
        except FileNotFoundError:
            self.there = False
            return []

    def _new(self, file: Any) -> list[RoundReport]:
        head, size = file.read(HEAD), os.fstat(file.fileno()).st_size
        if size < self._at or not head.startswith(self._head):
            self.reports, self._at, self._rest, self.again = Reports(), 0, b"", self.again + 1
        self._head = head
        file.seek(self._at)
        *lines, self._rest = (self._rest + file.read()).split(b"\n")
        self._at = file.tell()
        return list(_taken(self.reports.add, lines))


def _taken(add: Callable[[bytes], RoundReport | None], lines: Iterable[bytes]) -> Iterable[RoundReport]:
    for line in lines:
        if (report := add(line)) is not None:
            yield report
