"""Where a federation runs: on Flower's virtual clients, or in this process."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from flwr.app import ArrayRecord
from threadpoolctl import threadpool_limits

from flwr_byzantine.arrays.parallel import cores
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks import Attack
from flwr_byzantine.experiments.measures import History
from flwr_byzantine.experiments.tasks import batched
from flwr_byzantine.experiments.tasks.client import client_app
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.rules import Rule


def run_on(engine: str, main: Callable[[Any], None], num_clients: int, processes: int | None = None, app: Any = None) -> None:
    """Call `main(grid)` where the Grid's nodes are `num_clients` clients of one app.

    Args:
        engine: "local" (no Ray) or "ray" (Flower's simulation engine).
        main: what a ServerApp does.
        num_clients: number of nodes.
        processes: how many share the nodes of "local"; None is one for each core, or one where this process is itself
            one of several (as in a sweep), or where forking is not safe. Results do not depend on it.
        app: the ClientApp; None is `tasks.client.client_app`.

    Example:
        >>> run_on("local", lambda grid: print(grid.get_node_ids()), 2)
        [1, 2]
    """
    with quiet(), threadpool_limits(1, "blas"):  # OpenBLAS's idle threads would spin for a while, on cores that clients need
        app = client_app() if app is None else app
        if engine == "local":
            with LocalGrid(app, num_clients, processes=_processes() if processes is None else processes) as grid:
                main(grid)
        else:
            _on_ray(app, main, num_clients)


def federate_on(
    engine: str, task: Task, rule: Rule | None, attack: Attack | None, rounds: int, processes: int | None = None, **options: Any
) -> tuple[History, Mapping[str, Array]]:
    """One federation of a task on an engine: `federation.federate`, or on "batched" `batched.federate`.

    Args:
        engine: "local", "batched" or "ray".
        task: data and training.
        rule: a rule or chain, or None for the plain average.
        attack: or None.
        rounds: number of rounds.
        processes: as for `run_on`; on "batched" it is a number of threads.
        options: as for `federate`.

    Returns:
        What was measured, and the final model, name -> array.

    Example:
        >>> task = Task(num_clients=2, local_epochs=1)
        >>> [federate_on(engine, task, None, None, rounds=1)[0].accuracy[-1] > 0.1 for engine in ("local", "batched")]
        [True, True]
    """
    if engine == "batched":
        with quiet(), threadpool_limits(1, "blas"):
            return batched.federate(task, rule, attack, rounds, threads=processes, **options)
    found: list[tuple[History, ArrayRecord]] = []
    run_on(engine, lambda grid: found.append(federate(grid, task, rule, attack, rounds, **options)), task.num_clients, processes)
    history, arrays = found[0]
    return history, {name: array.numpy() for name, array in arrays.items()}


def _processes() -> int:
    """How many processes share the nodes: one where forking is unsafe (PyTorch with a GPU, macOS) or this process is a worker itself."""
    forks = sys.platform == "linux" and multiprocessing.parent_process() is None and not torch.cuda.is_available()
    return cores() if forks else 1


def _on_ray(clients: Any, main: Callable[[Any], None], num_clients: int) -> None:
    import flwr.simulation
    from flwr.app import Context
    from flwr.serverapp import Grid, ServerApp

    app = ServerApp()

    @app.main()
    def serve(grid: Grid, _context: Context) -> None:
        main(grid)

    flwr.simulation.run_simulation(app, clients, num_clients, backend_config=_backend())


def _backend() -> dict[str, Any]:
    return {
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {
            "num_cpus": max(2, os.cpu_count() or 2),
            "log_to_driver": False,
            "logging_level": "ERROR",
            "include_dashboard": False,
        },
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Switch off Flower's logs inside the `with` block, and Ray's for the rest of the process."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
