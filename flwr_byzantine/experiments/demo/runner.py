"""The demo's federations, one after another on the same virtual clients, so that the engine starts once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from flwr_byzantine import attacks
from flwr_byzantine.experiments.demo.apps import Outcome, federate
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.experiments.tasks.engines import run_on
from flwr_byzantine.rules.parsing import FEDAVG, parse_strategy

STRATEGIES = (FEDAVG, "krum", "multi-krum", "trimmed-mean", "nnm+trimmed-mean")
ATTACKS: dict[str, attacks.Attack] = {"sign flip x10": attacks.SignFlip(scale=10.0), "ALIE (z = 1.5)": attacks.ALIE(z=1.5)}
NUM_MALICIOUS = 4
CERTIFIED = ("trimmed-mean", "nnm+trimmed-mean")  # run again where clients hold like data, which certificates need


@dataclass(frozen=True)
class Run:
    """One federation: a strategy under an attack ("" is none); `alike`: the data is dealt out at random, not by skewed labels."""

    strategy: str
    attack: str
    alike: bool = False

    def __str__(self) -> str:
        run = f"{self.strategy} under {self.attack}" if self.attack else f"{self.strategy}, no attack"
        return f"{run}, like data" if self.alike else run


def plan() -> list[Run]:
    """FedAvg without attack, every strategy under every attack, and what can be certified under the last with like data."""
    every = [Run(strategy, attack) for attack in ATTACKS for strategy in STRATEGIES]
    return [Run(FEDAVG, ""), *every, *(Run(strategy, list(ATTACKS)[-1], alike=True) for strategy in CERTIFIED)]


def run_all(task: Task, rounds: int, progress: Any) -> dict[Run, Outcome]:
    """Run the plan on Flower's virtual-client engine.

    Args:
        task: data and training.
        rounds: rounds of each run.
        progress: gets `start(run)` before each run and `advance()` after each round.

    Returns:
        An outcome for each run; one that failed says why in `error`.
    """
    outcomes: dict[Run, Outcome] = {}

    def main(grid: Any) -> None:
        for run in plan():
            progress.start(run)
            outcomes[run] = _one(grid, task, run, rounds, progress)

    run_on("ray", main, task.num_clients)
    return {run: outcomes.get(run, Outcome(error="never started")) for run in plan()}


def _one(grid: Any, task: Task, run: Run, rounds: int, progress: Any) -> Outcome:
    rule = parse_strategy(run.strategy, NUM_MALICIOUS)
    try:
        attack = ATTACKS[run.attack] if run.attack else None
        setting = replace(task, partition="iid") if run.alike else task
        outcome, _ = federate(grid, setting, rule, attack, NUM_MALICIOUS, rounds, lambda number, _: progress.advance() if number else None)
    except Exception as error:  # one failed run must not lose the others
        return Outcome(error=f"{type(error).__name__}: {error}")
    return outcome
