"""Rounds a second of the digits task (20 clients, one local epoch) in process and on Flower's simulation engine, in one run.

Both use all cores. Prints both and their ratio, without and with attack and defence; medians over the rounds, the first ones left out.
Run: python tests/benchmarks/local_against_ray.py
"""

from __future__ import annotations

import time
from itertools import pairwise
from statistics import median
from typing import Any

from flwr_byzantine import attacks, rules
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.experiments.tasks.engines import run_on
from flwr_byzantine.experiments.tasks.federation import federate

TASK = Task(num_clients=20, num_malicious=4, local_epochs=1)
ROUNDS, WARM_UP = {"local": 100, "ray": 20}, 3
CASES = {
    "FedAvg, no attack": (None, None),
    "NNM + trimmed mean under ALIE": (rules.chain(rules.NNM(f=4), rules.TrimmedMean(f=4)), attacks.ALIE(z=1.5)),
}


def seconds(grid: Any, rule: rules.Rule | None, attack: attacks.Attack | None, rounds: int) -> float:
    """Median time of a round."""
    times: list[float] = []
    federate(grid, TASK, rule, attack, rounds, lambda _round, _accuracy: times.append(time.perf_counter()))
    return median(end - start for start, end in list(pairwise(times))[WARM_UP:])


def main() -> None:
    """Print a line for each case."""
    found: dict[str, dict[str, float]] = {}
    for engine, rounds in ROUNDS.items():

        def measure(grid: Any, engine: str = engine, rounds: int = rounds) -> None:
            found[engine] = {name: seconds(grid, rule, attack, rounds) for name, (rule, attack) in CASES.items()}

        run_on(engine, measure, TASK.num_clients)
    for name in CASES:
        local, ray = found["local"][name], found["ray"][name]
        print(f"{name}: in process {1 / local:.1f} rounds/s, on Ray {1 / ray:.1f} rounds/s, ratio {ray / local:.1f}")


if __name__ == "__main__":
    main()
