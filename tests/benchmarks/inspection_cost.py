"""What inspection adds to Krum on 32 replies of 1,000,000 float32: share of the whole aggregation, medians of one run.

Run: python tests/benchmarks/inspection_cost.py
"""

from __future__ import annotations

import logging
import time
from statistics import median

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_byzantine import Krum
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.replies import from_message
from flwr_byzantine.strategy.inspection import rows_or_reason

N, D, REPEATS = 32, 1_000_000, 15


def main() -> None:
    """Print the share."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    rng, app = np.random.default_rng(0), ClientApp()

    @app.train()
    def train(message: Message, context: object) -> Message:
        arrays = ArrayRecord({"w": Array(rng.normal(size=D).astype(np.float32))})
        return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    strategy, grid = Krum(f=5), LocalGrid(app, N)
    replies = grid.send_and_receive(strategy.configure_train(1, ArrayRecord({"w": Array(np.zeros(D, np.float32))}), ConfigRecord(), grid))
    template = strategy.core.template
    assert template is not None
    whole, inspection = [], []
    for server_round in range(1, REPEATS + 1):
        begun = time.perf_counter()
        strategy.aggregate_train(server_round, replies)
        whole.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        for reply in replies:
            rows_or_reason(from_message(reply, reply.metadata.src_node_id, "num-examples"), template)
        inspection.append(time.perf_counter() - begun)
    share = median(inspection) / median(whole)
    print(f"aggregation {1e3 * median(whole):.1f} ms, of it inspection {1e3 * median(inspection):.1f} ms: {100 * share:.1f} %")


if __name__ == "__main__":
    main()
