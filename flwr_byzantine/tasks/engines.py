"""Where a federation runs: on Flower's virtual clients, or in this process."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flwr_byzantine.local import LocalGrid
from flwr_byzantine.tasks.client import client_app

ENGINES = ("local", "ray")


def run_on(engine: str, main: Callable[[Any], None], num_clients: int) -> None:
    """Call `main(grid)` where the Grid's nodes are `num_clients` clients of `tasks.client.client_app`.

    Args:
        engine: "local" (this process, no Ray) or "ray" (Flower's simulation engine).
        main: what a ServerApp does.
        num_clients: number of nodes.

    Example:
        >>> run_on("local", lambda grid: print(grid.get_node_ids()), 2)
        [1, 2]
    """
    with quiet():
        if engine == "local":
            main(LocalGrid(client_app(), num_clients))
        else:
            _on_ray(main, num_clients)


def _on_ray(main: Callable[[Any], None], num_clients: int) -> None:
    import flwr.simulation
    from flwr.app import Context
    from flwr.serverapp import Grid, ServerApp

    app = ServerApp()

    @app.main()
    def serve(grid: Grid, _context: Context) -> None:
        main(grid)

    flwr.simulation.run_simulation(app, client_app(), num_clients, backend_config=_backend())


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
    """Flower's and Ray's logs off, Flower's only for the while."""
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
