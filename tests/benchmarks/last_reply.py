"""From the last reply to the new model: with the arithmetic done while replies come, and with all of it at the end, in turns in one run.

Replies come one by one, `PAUSE` seconds apart, into the core of a strategy: what Flower's transport takes is not in it.
Run: python tests/benchmarks/last_reply.py [NODES VALUES PAUSE RULE [SPILL_FOLDER]], by default 32 1000000 for Krum, Multi-Krum and CGE and
three pauses.
"""

from __future__ import annotations

import sys
import time
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np

from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.rules.parsing import parse
from flwr_byzantine.strategy.core import Core
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.steps import Replace

TURNS, PAUSES = 5, (0.008, 0.05, 0.2)


def round_of(rule: str, replies: dict[int, Any], model: Any, pause: float, one_by_one: bool, spill: str | None) -> tuple[float, Any, int]:
    """Seconds from the last reply's arrival to the new model, that model, and how often rows were read for products on arrival."""
    robust = parse(rule, f=len(replies) // 5)
    core = Core(Policy(spill=spill), lambda n: robust, Replace(), lambda *line: None, SimpleNamespace)
    core.begin(model, model)
    core.asked = sorted(replies)
    answers = [Reply(node, arrays, {}, 10, source=arrays) for node, arrays in replies.items()]
    core.inspector._decided = not one_by_one  # that nothing is to be worked out ahead
    for reply in answers[:-1]:
        core.arrived(reply)
        time.sleep(pause if one_by_one else 0)
    ahead, begun = core.inspector.ahead, time.perf_counter()
    core.arrived(answers[-1])
    combined = core.round(1, answers)
    assert combined is not None
    made = core.finish(combined, combined.arrays)
    return time.perf_counter() - begun, made, 0 if ahead is None else ahead.passes


def case(rule: str, nodes: int, values: int, pause: float, spill: str | None = None) -> None:
    """Print a line for a rule."""
    rng = np.random.default_rng(0)
    model = {"weight": rng.normal(size=values - 1000).astype(np.float32), "bias": np.zeros(1000, np.float32)}
    replies = {k: {name: value + rng.normal(size=value.shape).astype(np.float32) for name, value in model.items()} for k in range(nodes)}
    times: dict[bool, list[float]] = {True: [], False: []}
    models, passes = {}, {}
    for _ in range(TURNS):
        for one_by_one, found in times.items():
            seconds, models[one_by_one], passes[one_by_one] = round_of(rule, replies, model, pause, one_by_one, spill)
            found.append(seconds)
    same = all(np.array_equal(models[True][name], models[False][name]) for name in model)
    ahead, whole = (1e3 * median(times[one_by_one]) for one_by_one in (True, False))
    of, took = f"one each {1e3 * pause:g} ms", f"{ahead:.1f} ms after the last reply, {whole:.1f} ms at once ({whole / ahead:.1f}x)"
    print(f"{rule}, {nodes} x {values}, {of}: {took}, same bits: {same}; passes over the rows that were there: {passes[True]}")


def main(*arguments: str) -> None:
    """Run the case of the command line, or the two small ones."""
    if arguments:
        nodes, values, pause, rule, *spill = arguments
        case(rule, int(nodes), int(values), float(pause), *spill)
        return
    for rule in ("krum", "multi-krum", "cge"):
        for pause in PAUSES:
            case(rule, 32, 1_000_000, pause)


if __name__ == "__main__":
    main(*sys.argv[1:])
