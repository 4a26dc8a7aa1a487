"""Inner products of LoRA's products from their factors, beside forming the products: time as ratios, and memory.

python -m tests.benchmarks.lora_gram > tests/benchmarks/results/lora_gram.json
"""

import argparse
import json
import os
import time
import tracemalloc

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.factors import Factors, deltas_gram

MB = 1e6


def clients(n, rank, width, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (width, rank), (rank, width)
    return [Factors(*(rng.standard_normal(shape, np.float32) for shape in shapes), 1.0) for _ in range(n)]


def seconds(call, repeat=3):
    """The shortest of some runs, the first left out where there are several."""
    found = []
    for _ in range(repeat + (repeat > 1)):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return min(found[-repeat:])


def pair(one, other):
    """The inner product of two products that are formed for it, as for rows that do not fit memory together."""
    return float(np.vdot(one.b @ one.a, other.b @ other.a))


def formed_at_once(rows):
    """All products formed and kept, then this package's Gram matrix of flat rows."""
    return kernels.gram([(row.b @ row.a).reshape(-1) for row in rows], None)


def measured(n, rank, width, at_once):
    """How many times longer forming takes: of pairs one by one, from a few of them, and of all at once, at so many clients."""
    rows = clients(n, rank, width)
    ours, exact = seconds(lambda: deltas_gram(rows, None, exact=False)), seconds(lambda: deltas_gram(rows, None))
    one_pair = seconds(lambda: pair(rows[0], rows[1]))
    few = rows[:at_once]
    formed, few_ours = seconds(lambda: formed_at_once(few), 1), seconds(lambda: deltas_gram(few, None, exact=False))
    tracemalloc.start()
    deltas_gram(rows, None, exact=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    adapters = sum(row.b.nbytes + row.a.nbytes for row in rows)
    return {
        "clients": n, "rank": rank, "width": width, "seconds": round(ours, 3),
        "pairs formed one by one": round(one_pair * n * (n + 1) / 2 / ours, 1),
        "all formed at once": {"clients": at_once, "times": round(formed / few_ours, 1), "MB": round(at_once * width * width * 4 / MB)},
        "float64 instead of float32": round(exact / ours, 2),
        "adapters MB": round(adapters / MB, 1), "with extra memory, in adapters": round((adapters + peak) / adapters, 2),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--at-once", type=int, default=20)
    given = parser.parse_args()
    load = [round(value, 1) for value in os.getloadavg()]
    found = measured(given.clients, given.rank, given.width, given.at_once)
    print(json.dumps({"cores": os.cpu_count(), "load before": load, **found}, indent=1))


if __name__ == "__main__":
    main()
