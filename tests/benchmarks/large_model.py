"""100 replies of a model of 25,000,000 float32 parameters (10 GB): peak resident memory and time of an aggregation.

Each case runs in a process of its own, through the strategy, on replies as Flower holds them: npy bytes in ArrayRecords. With
`spill=` the replies arrive one by one and are moved to a file in FOLDER, which needs 10 GB of disk. The peak is that of the
whole process (VmHWM), from the making of the replies to the new model; the time is that of `aggregate_train`, less that of
making the replies. Linux only.

Run: python tests/benchmarks/large_model.py [FOLDER]
"""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from flwr_byzantine import Robust, rules
from flwr_byzantine.flower.local import LocalGrid

N, F = 100, 20
LAYERS = {"embedding": (4000, 2500), "a": (2000, 3000), "b": (2500, 2000), "c": (3000, 1000), "head": (999, 1000), "bias": (1000,)}
D = sum(math.prod(shape) for shape in LAYERS.values())
RULES = {"Krum": rules.Krum(f=F), "TrimmedMean": rules.TrimmedMean(f=F)}
LIMIT, NEEDED = 12.0, 14.0  # GB: resident at most; free to begin with


def model(values: npt.NDArray[np.float32]) -> ArrayRecord:
    """(D,) values as the layers' npy bytes."""
    ends = np.cumsum([math.prod(shape) for shape in LAYERS.values()])[:-1]
    parts = np.split(values, ends)
    return ArrayRecord({name: Array(part.reshape(shape)) for (name, shape), part in zip(LAYERS.items(), parts, strict=True)})


class Replies:
    """Answers to messages: the model plus noise, read from one random block at another place for each client; F of them lie."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.start = rng.standard_normal(D, np.float32)
        self.noise = 0.01 * rng.standard_normal(D + 1000 * N, np.float32)
        self.seconds = 0.0  # spent on making replies

    def __call__(self, messages: Iterable[Message]) -> Iterator[Message]:
        """One reply for each message, made when it is asked for."""
        for k, message in enumerate(messages):
            begun = time.perf_counter()
            noise = self.noise[1000 * k : 1000 * k + D]
            arrays = model(self.start + (noise if k >= F else -10 * noise))
            reply = Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)
            del arrays
            self.seconds += time.perf_counter() - begun
            yield reply


def peak() -> float:
    """GB of this process that were resident at most."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e9


def free() -> float:
    """GB that can be had."""
    (line,) = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable")]
    return int(line.split()[1]) * 1024 / 1e9


def case(name: str, folder: str | None) -> None:
    """Run one case in this process and print it."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    make, strategy = Replies(), Robust(RULES[name], spill=folder)
    messages = strategy.configure_train(1, model(make.start), ConfigRecord(), LocalGrid(None, N))
    replies, middle = make(messages), make.start[-1000:].copy()
    if not folder:
        replies = iter(list(replies))
        del make.start, make.noise  # not the server's
    before, making = time.perf_counter(), make.seconds
    arrays, _ = strategy.aggregate_train(1, replies)
    seconds = time.perf_counter() - before - (make.seconds - making)
    assert arrays is not None
    apart = np.abs(arrays["bias"].numpy() - middle).max()
    assert apart < 0.06, f"the result is {apart} from the model"
    where = "spill=" if folder else "in memory"
    print(f"{name:12} {where:10} {peak():6.2f} GB resident at most {seconds:7.1f} s", flush=True)
    assert folder or peak() <= LIMIT, f"more than {LIMIT} GB"


def main() -> None:
    """All cases, one after another."""
    folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.gettempdir()
    print(f"{N} replies of {D:,} float32: {4 * N * D / 1e9:.1f} GB; {free():.1f} GB of memory free")
    for where in ("", folder):
        for name in RULES:
            if not where and free() < NEEDED:
                sys.exit(f"expected {NEEDED} GB of free memory, got {free():.1f}; run it when the machine is idle")
            subprocess.run([sys.executable, "-W", "ignore", __file__, "case", name, where], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["case"]:
        case(sys.argv[2], sys.argv[3] or None)
    else:
        main()
