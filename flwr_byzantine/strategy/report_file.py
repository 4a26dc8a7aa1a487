"""The file of reports: one line of JSON for each round of a run, each once, whatever was killed when; other runs' lines stay."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from logging import ERROR, INFO
from pathlib import Path
from typing import Any

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.strategy.checkpoint import replacing
from flwr_byzantine.strategy.lock import Lock
from flwr_byzantine.strategy.report import RoundReport

PATIENCE = 5.0  # seconds that another run's line may take
FOREIGN, TORN = -1, 0  # of lines that are no round of this run


class ReportFile:
    """Adds reports to a file; what cannot be written now is written with the next round.

    Args:
        log: takes a level and a text.

    Attributes:
        written: how many of the run's reports are in the file.
    """

    def __init__(self, log: Callable[[int, str], None]) -> None:
        self.log, self.written, self.failing = log, 0, False

    def write(self, path: str | Path | None, reports: Sequence[RoundReport]) -> None:
        """Add those of the run's reports that are not yet written; a failure costs a line in the log."""
        if path is None:
            self.written = len(reports)
        elif self.written < len(reports):
            lines = [_line(report) for report in reports[self.written :]]
            self._try(path, lambda target: _append(target, b"".join(lines)), len(reports))

    def resume(self, path: str | Path | None, reports: Sequence[RoundReport]) -> None:
        """Make the file hold the reports of a run that goes on, each once, and none of the rounds that it has to do again."""
        self.written = len(reports)
        if path is not None and reports:
            self._try(path, lambda target: _mend(target, reports), len(reports))

    def _try(self, path: str | Path, change: Callable[[Path], None], count: int) -> None:
        target = Path(os.path.realpath(path))
        lock = Lock(target, self.log)
        try:
            lock.acquire(PATIENCE)
            change(target)
        except (OSError, InvalidParameter) as error:
            self.failing = True
            self.log(ERROR, f"reports could not be written to {target} ({error}); the run goes on, and they are tried again next round")
            return
        finally:
            lock.release()
        if self.failing:
            self.log(INFO, f"reports are written to {target} again")
        self.written, self.failing = count, False


def _line(report: RoundReport) -> bytes:
    return report.to_json().encode() + b"\n"


def _append(target: Path, lines: bytes) -> None:
    """Add whole lines or nothing; what a killed writer left of a line is ended before them."""
    with target.open("a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        left = lines if file.read(1) in (b"\n", b"") else b"\n" + lines
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(end)
            raise


def _mend(target: Path, reports: Sequence[RoundReport]) -> None:
    found = target.read_bytes() if target.exists() else b""
    lines = [line + b"\n" for line in found.split(b"\n") if line]
    missing, kept = {report.server_round: report for report in reports}, []
    for line in lines:
        number = _round(line, reports[0].run)
        if number == FOREIGN or missing.pop(number, None) is not None:
            kept.append(line)
    mended = b"".join([*kept, *map(_line, missing.values())])
    if mended != found:
        with replacing(target) as file:
            file.write(mended)


def _round(line: bytes, run: str) -> int:
    """The round of this run whose report a line is; FOREIGN for another's, TORN for a piece of one."""
    begin = json.dumps({"run": run}).encode()[:-1]
    if not line.startswith(begin):
        return TORN if begin.startswith(line[:-1]) else FOREIGN
    with suppress(ValueError):
        read: Any = json.loads(line)
        return int(read["server_round"])
    return TORN
