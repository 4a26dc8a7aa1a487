"""The demo's federations, one after another on the same virtual clients, so that the engine starts once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flwr_byzantine import attacks
from flwr_byzantine.demo.apps import Outcome, client_app, federate
from flwr_byzantine.demo.task import Task
from flwr_byzantine.spec import parse_rule

STRATEGIES = ("fedavg", "krum", "multi-krum", "trimmed-mean", "nnm+trimmed-mean")
ATTACKS: dict[str, attacks.Attack] = {"sign flip x10": attacks.SignFlip(scale=10.0), "ALIE (z = 1.5)": attacks.ALIE(z=1.5)}
NUM_MALICIOUS = 4


@dataclass(frozen=True)
class Run:
    """One federation: a strategy under an attack ("" is none)."""

    strategy: str
    attack: str

    def __str__(self) -> str:
        return f"{self.strategy} under {self.attack}" if self.attack else f"{self.strategy}, no attack"


def plan() -> list[Run]:
    """FedAvg without attack, then every strategy under every attack."""
    return [Run("fedavg", ""), *(Run(strategy, attack) for attack in ATTACKS for strategy in STRATEGIES)]


def run_all(task: Task, rounds: int, progress: Any) -> dict[Run, Outcome]:
    """Run the plan on Flower's virtual-client engine.

    Args:
        task: data and training.
        rounds: rounds of each run.
        progress: gets `start(run)` before each run and `advance()` after each round.

    Returns:
        An outcome for each run; one that failed says why in `error`.
    """
    import flwr.simulation
    from flwr.app import Context
    from flwr.serverapp import Grid, ServerApp

    outcomes: dict[Run, Outcome] = {}
    app = ServerApp()

    @app.main()
    def main(grid: Grid, _context: Context) -> None:
        for run in plan():
            progress.start(run)
            outcomes[run] = _one(grid, task, run, rounds, progress)

    with _quiet():
        flwr.simulation.run_simulation(app, client_app(), task.num_clients, backend_config=_backend())
    return {run: outcomes.get(run, Outcome(error="never started")) for run in plan()}


def _one(grid: Any, task: Task, run: Run, rounds: int, progress: Any) -> Outcome:
    rule = None if run.strategy == "fedavg" else parse_rule(run.strategy, f=NUM_MALICIOUS)
    try:
        attack = ATTACKS[run.attack] if run.attack else None
        outcome, _ = federate(grid, task, rule, attack, NUM_MALICIOUS, rounds, lambda number, _: progress.advance() if number else None)
    except Exception as error:  # one failed run must not lose the others
        return Outcome(error=f"{type(error).__name__}: {error}")
    return outcome


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
def _quiet() -> Iterator[None]:
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
