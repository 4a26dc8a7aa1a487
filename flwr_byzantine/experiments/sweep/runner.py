"""A sweep from its file to its results: what is left to do, in parallel, stored at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep.cell import Cell
from flwr_byzantine.experiments.sweep.cluster import Cluster
from flwr_byzantine.experiments.sweep.config import Sweep
from flwr_byzantine.experiments.sweep.store import Store
from flwr_byzantine.experiments.sweep.workers import run_all


@dataclass
class Summary:
    """What a run of a sweep did.

    Attributes:
        finished: cells that this run finished.
        failed: cells that failed in this run or an earlier one, with the reason.
        skipped: cells that were finished before.
        left: cells that an interrupted run did not come to.

    Example:
        >>> Summary(finished=3, skipped=2).text()
        '3 cells finished, 0 failed, 2 skipped (finished before)'
    """

    finished: int = 0
    failed: list[tuple[Cell, str]] = field(default_factory=list)
    skipped: int = 0
    left: int = 0

    def count(self, result: Result, cells: Sequence[Cell]) -> None:
        """One of the cells is finished, or has failed."""
        self.left -= 1
        if result.ok:
            self.finished += 1
        else:
            self.failed.append((next(cell for cell in cells if cell.key == result.key), result.error))

    def text(self) -> str:
        """The summary in one line."""
        left = f", {self.left} left" if self.left else ""
        cells = "1 cell" if self.finished == 1 else f"{self.finished} cells"
        return f"{cells} finished, {len(self.failed)} failed, {self.skipped} skipped (finished before){left}"


@dataclass(frozen=True)
class Plan:
    """The cells of a sweep, divided by what the results file holds of them.

    Attributes:
        todo: to run.
        done: finished before.
        failed: failed before, with the reason; not run again.
    """

    todo: list[Cell]
    done: list[Cell]
    failed: list[tuple[Cell, str]]


def plan(cells: Sequence[Cell], results: Mapping[str, Result], retry_failed: bool = False) -> Plan:
    """Divide cells by the results that there are of them.

    Args:
        cells: of the sweep.
        results: by key, as the store reads them.
        retry_failed: run failed ones again.

    Example:
        >>> cells = [Cell.of({"seed": seed}) for seed in (1, 2)]
        >>> len(plan(cells, {cells[0].key: Result(cells[0].config)}).todo)
        1
    """
    known = [(cell, results.get(cell.key)) for cell in cells]
    todo = [cell for cell, result in known if result is None or (retry_failed and not result.ok)]
    done = [cell for cell, result in known if result is not None and result.ok]
    failed = [(cell, result.error) for cell, result in known if result is not None and not result.ok and not retry_failed]
    return Plan(todo, done, failed)


def run(
    sweep: Sweep,
    results: Path,
    processes: int | None = None,
    retry_failed: bool = False,
    on_start: Callable[[Plan], None] = lambda _plan: None,
    on_result: Callable[[Result], None] = lambda _result: None,
    cluster: Cluster | None = None,
    profile: bool = False,
) -> Summary:
    """Run what is not finished yet, and store each cell as soon as it is.

    Args:
        sweep: what to run.
        results: JSON-lines file; cells that it holds already are skipped.
        processes: how many run at once; None is the sweep's own number. On the engine "ray" it is one, since that
            engine is parallel itself; on a cluster, as many as it has cores for.
        retry_failed: run the cells again that failed before.
        on_start: gets the plan before anything runs.
        on_result: gets each result after it was stored.
        cluster: where to run; None is this machine.
        profile: whether results say where time goes.

    Returns:
        What was done; after Ctrl-C, how many cells are left.

    Raises:
        InvalidParameter: the results file cannot be used, or the cluster.
    """
    with nullcontext() if cluster is None else cluster.joined(sweep) as stays, Store(results) as store:
        work = plan(sweep.cells, store.read(), retry_failed)
        on_start(work)
        summary = Summary(failed=list(work.failed), skipped=len(work.done), left=len(work.todo))
        found = run_all(work.todo, _processes(sweep, processes), sweep.data_root, profile)
        if cluster is not None:
            found = cluster.run_all(sweep, work.todo, processes, profile, cancel=bool(stays))
        with suppress(KeyboardInterrupt), closing(found):  # what is finished is stored; the caller sees that cells are left
            for result in found:
                store.append(result)
                summary.count(result, work.todo)
                on_result(result)
    return summary


def _processes(sweep: Sweep, given: int | None) -> int:
    on_ray = any(cell.config["engine"] == "ray" for cell in sweep.cells)
    return 1 if on_ray else sweep.processes if given is None else given
