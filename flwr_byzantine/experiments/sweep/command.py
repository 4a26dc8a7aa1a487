"""What `flwr-byzantine sweep` shows: a progress bar, failures, a summary and the choice of hyper-parameters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.report.choice import Choice, choose
from flwr_byzantine.experiments.report.settings import load
from flwr_byzantine.experiments.report.tables import CHOICE_NOTES
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep.cluster import Cluster
from flwr_byzantine.experiments.sweep.config import Sweep, part_of, read
from flwr_byzantine.experiments.sweep.keys import shown
from flwr_byzantine.experiments.sweep.runner import Plan, Summary, plan, run
from flwr_byzantine.experiments.sweep.store import Store
from flwr_byzantine.flower.words import escaped
from flwr_byzantine.monitor.show.printing import show
from flwr_byzantine.monitor.show.table import Table
from flwr_byzantine.monitor.show.terminal import fail, progress, say, warn

INTERRUPTED = 130
LONGEST_NAME = 100  # characters of a sweep's name in its file's


def command(
    config: Path,
    results: Path | None,
    processes: int | None,
    retry_failed: bool,
    dry_run: bool,
    console: Console,
    cluster: Cluster | None = None,
    profile: bool = False,
    part: str | None = None,
) -> int:
    """Run the sweep of a file, on a cluster if there is one, or with `dry_run` say what it would run.

    Returns:
        Exit status: 0; 1 where a cell failed; 130 after Ctrl-C.

    Raises:
        InvalidParameter: a mistake in the file, or a cluster that cannot be used.
    """
    sweep = read(config) if part is None else part_of(read(config), part)
    path = Path(f"{file_name(sweep.name)}.jsonl") if results is None else results
    if dry_run:
        _preview(sweep, plan(sweep.cells, Store(path).read(), retry_failed), path, console)
        return 0
    with progress() as bar:
        shown = _Shown(bar, sweep.name)
        summary = run(sweep, path, processes, retry_failed, shown.begin, shown.note, cluster, profile)
    if any(result.profile for result in shown.ran):
        show(profile_table(shown.ran), console)
    _report(sweep, summary, path, console)
    return INTERRUPTED if summary.left else int(bool(summary.failed))


class _Shown:
    """What is shown while a sweep runs: a bar, failures, and each notice once."""

    def __init__(self, bar: Progress, name: str) -> None:
        self.bar, self.task = bar, bar.add_task(escaped(name), total=None)
        self.ran: list[Result] = []
        self._noticed: list[str] = []

    def begin(self, work: Plan) -> None:
        self.bar.update(self.task, total=len(work.todo))
        self._warn(text for cell in work.todo for text in cell.notices())

    def note(self, result: Result) -> None:
        self.bar.advance(self.task)
        self.ran.append(result)
        if not result.ok:
            fail(f"failed: {result.error}")
        self._warn(result.notices)

    def _warn(self, notices: Iterable[str]) -> None:
        for text in dict.fromkeys(text for text in notices if text not in self._noticed):
            self._noticed.append(text)
            warn(text)


def file_name(name: str) -> str:
    """The name as that of a file in the current folder, whatever is in it.

    Example:
        >>> [file_name(name) for name in ("my sweep_1", "../../etc/x", "/tmp/a", "..")]
        ['my sweep_1', 'etc-x', 'tmp-a', 'sweep']
    """
    kept = re.sub(r"[^\w .,()\[\]=+-]+", "-", name)
    kept = re.sub(r"\.\.+", "-", kept)
    return kept.strip("-. ")[:LONGEST_NAME] or "sweep"


def _preview(sweep: Sweep, work: Plan, path: Path, console: Console) -> None:
    counts = {key: Counter(str(cell.config[key]) for cell in sweep.cells) for key in sorted(sweep.cells[0].config)}
    rows = [[shown(key), ", ".join(f"{value} ({n})" for value, n in found.items())] for key, found in counts.items() if len(found) > 1]
    show(Table.of(f"{sweep.name}: {len(sweep.cells)} cells", ("key", "values (cells)"), rows), console)
    for text in dict.fromkeys(text for cell in sweep.cells for text in cell.notices()):
        warn(text)
    say(console, f"{len(work.todo)} to run, {len(work.done)} finished, {len(work.failed)} failed before; results: {path}")


def _report(sweep: Sweep, summary: Summary, path: Path, console: Console) -> None:
    for cell, error in summary.failed:
        fail(f"failed: {cell}: {error}")
    say(console, f"{summary.text()}; results: {path}")
    if summary.left:
        warn("interrupted: run the same command again to go on")
    if summary.failed:
        warn("run again with --retry-failed to repeat the failed cells")
    if sweep.choose and not summary.left:
        try:
            show(choice_table(sweep, path), console)
        except InvalidParameter as error:
            warn(f"nothing was chosen: {error}")


def profile_table(results: Sequence[Result]) -> Table:
    """Where the time of cells went, over all of them: seconds of each part, their share, and milliseconds a round.

    Example:
        >>> profile_table([Result({"strategy": "krum", "rounds": 10}, profile={"rule": 0.1, "clients": 0.3})]).rows[0][2].text
        '75.0 %'
    """
    rounds = sum(result.config["rounds"] for result in results if result.profile)
    parts = sum((Counter(result.profile) for result in results), Counter())
    whole = sum(parts.values())
    rows = [[part, f"{spent:.2f}", f"{100 * spent / whole:.1f} %", f"{1000 * spent / rounds:.2f}"] for part, spent in parts.most_common()]
    return Table.of(f"Where the time went: {rounds} rounds", ("part", "seconds", "share", "ms a round"), rows)


def choice_table(sweep: Sweep, path: Path) -> Table:
    """The chosen hyper-parameters for each strategy and setting.

    Raises:
        InvalidParameter: the results do not suffice for a choice.
    """
    keys = {cell.key for cell in sweep.cells}
    cells = [cell for cell in load(path) if cell.key in keys]
    choices = [choice for choice in choose(cells, list(sweep.choose)) if not choice.reference]
    title = "Chosen on the validation split by the worst case over attacks"
    header = ("strategy", "setting", *map(shown, sweep.choose), "worst validation accuracy", "why")
    return replace(Table.of(title, header, map(_row, choices)), notes=CHOICE_NOTES[1:]).without_empty()


def _row(choice: Choice) -> list[str]:
    setting = ", ".join(f"{shown(key)} = {value}" for key, value in choice.setting)
    worst = choice.estimates[choice.values]
    error = f" ± {100 * worst.error:.1f}" * (worst.error > 0)
    return [choice.rule, setting, *(f"{value}" for _, value in choice.values), f"{100 * worst.mean:.1f}{error} %", choice.reason]
