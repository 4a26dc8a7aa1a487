"""Krum on Flower's records, ours against Flower's `select_multikrum`, in one run: `python tests/benchmarks/krum_against_flower.py`.

Prints the ratio of the times and the peak extra memory of each over the replies themselves.
"""

import time
import tracemalloc

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.multikrum import select_multikrum

from flwr_byzantine import rules
from flwr_byzantine.rules.base import run
from flwr_byzantine.strategy.inspect import Template
from flwr_byzantine.updates import Block, Updates

N, D, F = 32, 1_000_000, 7


def replies(seed=0):
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=D).astype(np.float32) for _ in range(N)]
    return [RecordDict({"arrays": ArrayRecord({"w": Array(row)}), "metrics": MetricRecord({"num-examples": 1})}) for row in rows]


def ours(contents, template):
    """Inspection included: from bytes to the chosen row."""
    rows = [template.read({name: array.data for name, array in content["arrays"].items()}) for content in contents]
    blocks = [Block([row[k] for row in rows], origin) for k, origin in enumerate(template.origins)]
    return run(rules.Krum(f=F), Updates(blocks))


def measure(task):
    """Best of three runs in seconds, each on fresh records, then peak traced memory of one more, in bytes."""
    times = []
    for _ in range(3):
        contents = replies()
        start = time.perf_counter()
        task(contents)
        times.append(time.perf_counter() - start)
    contents = replies()
    tracemalloc.start()
    task(contents)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return min(times), peak


def main():
    template = Template({"w": np.zeros(D, np.float32)})
    size = N * D * 4
    own, own_peak = measure(lambda contents: ours(contents, template))
    flower, flower_peak = measure(lambda contents: select_multikrum(contents, F, 1))
    print(f"Krum, {N} replies of {D:,} float32 on Flower records")
    print(f"  flwr-byzantine (inspection included)  {own * 1e3:8.1f} ms   extra memory {100 * own_peak / size:6.1f} % of the replies")
    print(f"  Flower select_multikrum               {flower * 1e3:8.1f} ms   extra memory {100 * flower_peak / size:6.1f} % of the replies")
    print(f"  ratio {flower / own:.0f}x")


if __name__ == "__main__":
    main()
