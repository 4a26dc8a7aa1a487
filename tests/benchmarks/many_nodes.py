"""Time and memory of a round of many nodes, by part: inspection, inner products, what the rule makes of these, and the combination.

Each round has a process of its own. Replies are npy bytes in memory: what Flower's transport takes is not in it. 10,000 of 100,000 float32
are 4 GB, and the Gram matrix of as many nodes, n x n float64, 0.8 GB. Linux only.

Run: python tests/benchmarks/many_nodes.py [NODES VALUES RULE ...], by default 1000 and 10000 nodes of 100000 values, and all of `RULES`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.flower.codec import pack
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.flower.spans import profiled, span
from flwr_byzantine.rules.parsing import parse
from flwr_byzantine.strategy.core import Core
from flwr_byzantine.strategy.inspection import Inspector
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.steps import Replace

NODES, VALUES = (1_000, 10_000), 100_000
RULES = ("mean", "median", "centered-clipping", "krum", "geometric-median", "nnm+trimmed-mean")
PARTS = {  # part -> what does it; what is left of the rule's time is the rule's own
    "inspection": [(Inspector, "inspect")],
    "inner products": [(Updates, "gram"), (Updates, "sq_norms"), (Updates, "sq_distances_to")],
    "order": [(Updates, "order")],
    "combination": [(Updates, "combine"), (Updates, "windows"), (Updates, "shifted"), (Updates, "columns")],
}


def watched(function: Callable[..., Any], part: str) -> Callable[..., Any]:
    """The function as a part of a profile."""

    @wraps(function)
    def inside(*arguments: Any, **keywords: Any) -> Any:
        with span(part):
            return function(*arguments, **keywords)

    return inside


def resident(name: str) -> float:
    """GB of this process in memory: now (VmRSS), or at most so far (VmHWM)."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024 / 1e9


def replies_of(nodes: int, values: int) -> list[Reply]:
    """Normal updates, each of its own."""
    rng = np.random.default_rng(0)
    payloads = ({"w": pack({"w": rng.standard_normal(values, np.float32)})["w"].data} for _ in range(nodes))
    return [Reply(node, given, {}, 10, source=given) for node, given in enumerate(payloads)]


def case(nodes: int, values: int, rule: str) -> None:
    """Print the line of one round."""
    for part, functions in PARTS.items():
        for owner, name in functions:
            setattr(owner, name, watched(getattr(owner, name), part))
    robust = parse(rule, f=nodes // 5)
    robust.aggregate(np.random.default_rng(1).standard_normal((nodes, 64), np.float32))  # compiles
    core, replies = Core(Policy(), lambda n: robust, Replace(), lambda *line: None, SimpleNamespace), replies_of(nodes, values)
    core.begin({"w": np.zeros(values, np.float32)}, None)
    core.asked = [reply.node for reply in replies]
    held, begun = resident("VmRSS"), time.perf_counter()
    with profiled() as profile:
        assert core.round(1, replies) is not None
    whole, seconds = time.perf_counter() - begun, profile.seconds
    parts = " | ".join(f"{seconds.get(part, 0.0):.3f}" for part in (*PARTS, "rule", "other"))
    print(f"| {nodes:,} | {rule} | {whole:.2f} | {parts} | {held:.2f} | {resident('VmHWM') - held:.2f} |", flush=True)


def main(*arguments: str) -> None:
    """Run every case in a process of its own."""
    sizes, values = ((int(arguments[0]),), arguments[1]) if arguments else (NODES, str(VALUES))
    print("| nodes | rule | round (s) |", " | ".join(PARTS), "| rule | other | replies (GB) | beyond them (GB) |", flush=True)
    for nodes in sizes:
        for rule in arguments[2:] or RULES:
            subprocess.run([sys.executable, __file__, "case", str(nodes), values, rule], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["case"]:
        case(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        main(*sys.argv[1:])
