"""What 40 arrays of state add to a round of 32 replies of 1,000,000 float32: against the model without them, and with all judged.

Run: python tests/benchmarks/state_cost.py
"""

from __future__ import annotations

import logging
import time
from statistics import median

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine import Robust
from flwr_byzantine.flower.local import LocalGrid

N, F, LAYERS, WIDTH, REPEATS = 32, 6, 20, 50_000, 25
WEIGHTS = {f"{k}.weight": np.zeros(WIDTH, np.float32) for k in range(LAYERS)}
CHANNELS = {f"bn{k}.running_{kind}": np.zeros(256, np.float32) for k in range(LAYERS // 2) for kind in ("mean", "var")}
COUNTERS = {f"bn{k}.num_batches_tracked": np.array(0) for k in range(LAYERS)}
CASES = {"without state": (WEIGHTS, "trained"), "state": (WEIGHTS | CHANNELS | COUNTERS, "trained")}
CASES["all judged"] = (CASES["state"][0], "all")


class Case:
    """A strategy, and the replies of a round to it."""

    def __init__(self, rule: str, model: dict[str, np.ndarray], judge: str) -> None:
        everyone = {"fraction_evaluate": 0.0, "min_train_nodes": N, "min_available_nodes": N}
        self.strategy = Robust(rule, FedAvg(**everyone), f=F, judge=judge)
        rng, app = np.random.default_rng(0), ClientApp()

        @app.train()
        def train(message: Message, context: object) -> Message:
            moved = {name: np.asarray(value + 0.01 * rng.normal(size=value.shape), value.dtype) for name, value in model.items()}
            return Message(RecordDict({"arrays": record(moved), "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

        grid = LocalGrid(app, N)
        self.replies = grid.send_and_receive(self.strategy.configure_train(1, record(model), ConfigRecord(), grid))

    def seconds(self, server_round: int) -> float:
        """How long a round's aggregation takes, inspection included."""
        begun = time.perf_counter()
        self.strategy.aggregate_train(server_round, self.replies)
        return time.perf_counter() - begun


def record(arrays: dict[str, np.ndarray]) -> ArrayRecord:
    """As clients send it."""
    return ArrayRecord({name: Array(value) for name, value in arrays.items()})


def main() -> None:
    """Print the times, the cases taking turns."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    for rule in ("krum", "median", "nnm+trimmed-mean"):
        cases = {name: Case(rule, *case) for name, case in CASES.items()}
        turns = [{name: case.seconds(number) for name, case in cases.items()} for number in range(1, REPEATS + 4)][3:]
        for name in CASES:
            best, middle = min(turn[name] for turn in turns), median(turn[name] / turn["without state"] for turn in turns)
            print(f"{rule:17} {name:14} {1e3 * best:7.1f} ms at best; {100 * (middle - 1):+5.1f} % (median of {REPEATS} turns)")


if __name__ == "__main__":
    main()
