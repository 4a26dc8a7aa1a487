"""Processes that run one cell at a time; where one dies, its own cell fails and no other."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait

from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep.cell import Cell, failed, run
from flwr_byzantine.flower.processes import cause, end_with_parent

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
Results = Generator[Result, None, None]  # closed, it ends what still runs


def run_all(cells: Sequence[Cell], processes: int, data_root: str = "", profile: bool = False) -> Results:
    """Run cells in new processes; yields each one's result as soon as it is there.

    Sums over threads depend on their number, so each process has one thread, and results do not depend on how many
    processes there are or which of them runs what.

    Args:
        cells: the cells, in the order in which they are begun.
        processes: how many run at once.
        data_root: folder of the data.
        profile: whether results say where time goes.
    """
    queue = list(reversed(cells))
    workers = {Worker() for _ in range(min(processes, len(cells)))}
    try:
        for worker in workers:
            worker.begin(queue.pop(), data_root, profile)
        while workers:
            for worker in [each for each in workers if each.pipe in wait([other.pipe for other in workers])]:
                yield worker.result()
                if worker.dead or not queue:
                    worker.stop()
                    workers.remove(worker)
                if worker.dead and queue:
                    worker = Worker()
                    workers.add(worker)
                if queue:
                    worker.begin(queue.pop(), data_root, profile)
    finally:
        for worker in workers:
            worker.stop()


class Worker:
    """One process, and the cell that it runs."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        with _one_thread():
            self.process.start()
        theirs.close()
        self.dead = False
        self.cell: Cell | None = None

    def begin(self, cell: Cell, data_root: str, profile: bool = False) -> None:
        """Send a cell."""
        self.cell = cell
        self.pipe.send((cell, data_root, profile))

    def result(self) -> Result:
        """The result of the cell; a failed one where the process died over it."""
        assert self.cell is not None
        try:
            found: Result = self.pipe.recv()
        except (EOFError, OSError):
            self.dead = True
            self.process.join()
            error = f"WorkerDied: the process that ran it ended without a result ({cause(self.process.exitcode)})"
            return failed(self.cell, error)
        return found

    def stop(self) -> None:
        """End the process at once."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


def serve(pipe: Connection) -> None:
    """The worker's loop: receive a cell, run it, send the result, until the sweep's process closes the pipe."""
    end_with_parent()
    while True:
        try:
            cell, data_root, profile = pipe.recv()
        except EOFError:
            return
        pipe.send(run(cell, data_root, profile=profile))


@contextmanager
def _one_thread() -> Iterator[None]:
    """The environment in which numerical libraries start with one thread."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
