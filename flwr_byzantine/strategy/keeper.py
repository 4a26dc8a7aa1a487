"""A run's files, the checkpoint, of which the run is the only writer, and the file of reports; and who else is told of a round."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from logging import ERROR, INFO
from pathlib import Path

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.strategy.checkpoint import Snapshot, beside, load, save
from flwr_byzantine.strategy.lock import Lock
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.report import RoundReport
from flwr_byzantine.strategy.report_file import ReportFile
from flwr_byzantine.strategy.telling import Telling


class Keeper:
    """Reads and writes what the policy names, and says where.

    Args:
        policy: its `checkpoint`, `resume`, `report_path` and `on_report` are read anew in each round.
        log: takes a level and a text.

    Attributes:
        reports: the file of reports.
        telling: calls `on_report`.
    """

    def __init__(self, policy: Policy, log: Callable[[int, str], None]) -> None:
        self.policy, self.log, self.reports, self.telling = policy, log, ReportFile(log), Telling(log)
        self._lock: Lock | None = None
        self._own: Path | None = None  # the file that holds nothing but this run
        self._saved = 0  # the last round that is in it
        self._failing = False

    @property
    def target(self) -> Path | None:
        """Where the checkpoint is, whatever links lead there."""
        return None if self.policy.checkpoint is None else Path(os.path.realpath(self.policy.checkpoint))

    def refuse_overwriting(self) -> None:
        """Refuse a checkpoint that is there already where the run does not go on from it.

        Raises:
            InvalidParameter: one sentence says what to do.
        """
        if self.target is not None and not self.policy.resume:
            _refuse(self.target)

    def open(self, idle: bool) -> Snapshot | None:
        """Become the file's only writer, and read what is to be gone on from.

        Args:
            idle: nobody will tell when the run is over.

        Raises:
            InvalidParameter: another run writes the file, it is not to be overwritten, or is no checkpoint.
        """
        self.close()
        self._own, self._saved = self.target, 0
        if self._own is None:
            return None
        self._claim(self._own, idle)
        try:
            self.refuse_overwriting()
            found = load(self._own) if self.policy.resume else None
        except InvalidParameter:
            self.close()
            raise
        self._saved = 0 if found is None else found.server_round
        return found

    def peek(self) -> int:
        """The last round in the checkpoint that the run will go on from; 0 without one."""
        found = load(self.target) if self.policy.resume and self.target is not None else None
        return 0 if found is None else found.server_round

    def _claim(self, target: Path, idle: bool) -> None:
        self._lock = Lock(target, self.log)
        self._lock.acquire()
        self._lock.idle = idle
        beside(target).unlink(missing_ok=True)  # of a writer that was killed
        reports = "" if self.policy.report_path is None else f", and reported in {self.policy.report_path}"
        self.log(INFO, f"after each round the run is saved to {target}{reports}")

    def close(self) -> None:
        """Let others write the file."""
        if self._lock is not None:
            self._lock.release()
        self._lock = None

    def save(self, make: Callable[[], Snapshot]) -> None:
        """Write the checkpoint; a failure costs a line in the log, and is tried again next round.

        Raises:
            InvalidParameter: another run has become its writer.
        """
        target = self.target
        if target is None:
            return
        if self._lock is None or self._lock.target != target:  # the attribute was set during the run, or the run was said to be over
            self.close()
            self._claim(target, idle=True)
            if self._own != target:
                _refuse(target)
            self._own = target
        if self._lock is None or not self._lock.held:
            raise InvalidParameter(f"strategy: another run of this process writes {str(target)!r} by now; give each a path of its own")
        self._write(target, make())

    def _write(self, target: Path, snapshot: Snapshot) -> None:
        try:
            save(target, snapshot)
        except OSError as error:
            lost = f"a restart would go on after round {self._saved}" if self._saved else "nothing is saved yet"
            self.log(ERROR, f"round {snapshot.server_round} could not be saved to {target} ({error}); the run goes on, but {lost}")
            self._failing = True
            return
        if self._failing:
            self.log(INFO, f"round {snapshot.server_round} is saved to {target} again")
        self._saved, self._failing = snapshot.server_round, False

    def known(self, count: int) -> None:
        """So many reports are of runs before this one, which nobody is told of again."""
        self.reports.written = self.telling.told = count

    def resume(self, reports: list[RoundReport]) -> None:
        """The run goes on after these."""
        self.known(len(reports))
        self.reports.resume(self.policy.report_path, reports)

    def report(self, reports: list[RoundReport]) -> None:
        """Tell `on_report`, and bring the file of reports up to date; after the checkpoint, which neither must precede."""
        try:
            self.telling.tell(self.policy.on_report, reports)
        finally:
            self.reports.write(self.policy.report_path, reports)

    def evaluated(self, server_round: int, where: str, metrics: Mapping[str, float]) -> None:
        """Tell `on_report` what an evaluation of the round's model has found, by the "clients" or on the "server"."""
        self.telling.evaluated(self.policy.on_report, server_round, where, metrics)


def _refuse(target: Path) -> None:
    if os.path.lexists(target):
        advice = "pass resume=True to go on from it, move it away, or give another path"
        raise InvalidParameter(f"strategy: checkpoint {str(target)!r} exists, and would be overwritten; {advice}")
