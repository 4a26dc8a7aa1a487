"""The speed ratios that docs/speed.md claims, each measured with both sides in one run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from flwr_byzantine import rules
from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.experiments.bench.machine import gram_limit
from flwr_byzantine.experiments.bench.measure import Timing, measure
from flwr_byzantine.experiments.bench.runner import OURS, Size, entries, select, updates

AT_LEAST = [  # contests, size, peers, how many times faster
    (("krum", "geometric-median", "centered-clipping"), Size(100, 200_000), ("ByzFL",), 6.0),
    (("nnm+geometric-median",), Size(100, 200_000), ("ByzFL",), 100.0),
    (("median", "trimmed-mean"), Size(32, 1_000_000), ("Flower", "ByzFL"), 20.0),
    (("median", "trimmed-mean"), Size(100, 1_000_000), ("Flower", "ByzFL"), 20.0),
    (("meamed",), Size(100, 1_000_000), ("ByzFL",), 20.0),
    (("bulyan",), Size(100, 1_000_000), ("Flower",), 20.0),
]
RECORDS = Size(32, 1_000_000)
GEOMETRIC = ("krum", "multi-krum", "geometric-median", "cge", "monna", "caf")
CHAINS: list[Callable[[int], rules.Rule]] = [
    lambda f: rules.chain(rules.NNM(f=f), rules.GeometricMedian(f=f)),
    lambda f: rules.chain(rules.ARC(f=f), rules.NNM(f=f), rules.MultiKrum(f=f)),
    lambda f: rules.chain(rules.Clipping(radius=1e3), rules.Bucketing(s=2), rules.GeometricMedian(f=f // 2)),
]


@dataclass(frozen=True)
class Claim:
    """One claim, and whether it holds here.

    Attributes:
        claim: what is compared, at which size.
        asked: the ratio that is claimed.
        measured: the ratio found, with our time.
        holds: whether the one meets the other.
    """

    claim: str
    asked: str
    measured: str
    holds: bool


def check(contestants: Sequence[str], limits: dict[str, float], timeout: float = 120.0) -> list[Claim]:
    """Measure every claim whose peers are installed.

    Args:
        contestants: peers installed.
        limits: `read_bytes_per_s` and `gemm_macs_per_s` of this machine.
        timeout: seconds that one contestant gets for one rule.
    """
    found = records(timeout) if "Flower" in contestants else []
    for names, size, against, least in AT_LEAST:
        X = updates(size)
        times = {(contest.name, who): measure(task, timeout) for contest, who, task in entries(select(names), size, against, X)}
        found += [
            faster(f"{name}, {size}, against {peer}", times[name, OURS], times[name, peer], least)
            for name in names
            for peer in against
            if peer in contestants
        ]
        if names == ("meamed",) and "ByzFL" in contestants:
            phocas = measure(partial(rules.Phocas(f=size.f), X), timeout)
            found.append(faster(f"phocas, {size}, against ByzFL's meamed", phocas, times["meamed", "ByzFL"], least))
    return [*found, *chains(Size(100, 200_000), timeout), *grams(limits, timeout)]


def faster(claim: str, ours: Timing, other: Timing, least: float) -> Claim:
    """Whether ours is at least `least` times faster; a peer that was stopped at its time limit counts with that limit."""
    asked = f">= {least:g}x"
    if ours.seconds is None or (other.seconds is None and not other.error.startswith("more than")):
        return Claim(claim, asked, ours.error or other.error, False)
    seconds = other.seconds if other.seconds is not None else float(other.error.split()[2])
    more = "" if other.seconds is not None else "more than "
    return Claim(claim, asked, f"{more}{seconds / ours.seconds:.1f}x ({1e3 * ours.seconds:.1f} ms)", seconds / ours.seconds >= least)


def records(timeout: float) -> list[Claim]:
    """Krum and Multi-Krum on Flower's records: whole strategies, ours with the inspection of the replies."""
    from flwr.serverapp import strategy as flower

    from flwr_byzantine import strategy

    logging.getLogger("flwr").setLevel(logging.ERROR)
    size, found = RECORDS, []
    X = updates(size)
    for name, options in (("Krum", {}), ("MultiKrum", {"num_nodes_to_select": size.n - size.f})):
        given: dict[str, Any] = {"num_malicious_nodes": size.f, "min_available_nodes": size.n, "min_train_nodes": size.n, **options}
        ours, theirs = (measure(aggregation(getattr(module, name)(**given), X), timeout) for module in (strategy, flower))
        found.append(faster(f"{name} on Flower's records, {size}, against Flower", ours, theirs, 60.0))
    return found


def aggregation(strategy: Any, X: Array) -> Callable[[], Any]:
    """A call that lets a strategy aggregate the replies of len(X) clients, each with a row of X as its model."""
    from flwr.app import Array as Record
    from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    from flwr_byzantine.flower.local import LocalGrid

    app = ClientApp()

    @app.train()
    def train(message: Message, context: Any) -> Message:
        arrays = ArrayRecord({"w": Record(X[context.node_config["partition-id"]])})
        return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    grid, first = LocalGrid(app, len(X)), ArrayRecord({"w": Record(np.zeros(X.shape[1], np.float32))})
    replies = grid.send_and_receive(strategy.configure_train(1, first, ConfigRecord(), grid))
    return lambda: strategy.aggregate_train(1, replies)


def chains(size: Size, timeout: float) -> list[Claim]:
    """The time of chains of geometric rules against that of the slowest single rule."""
    X, found = updates(size), []
    singles = {name: measure(partial(select([name])[0].ours(size.f), X), timeout).seconds or np.inf for name in GEOMETRIC}
    slowest = max(singles, key=singles.__getitem__)
    for make in CHAINS:
        rule = make(size.f)
        seconds = measure(partial(rule, X), timeout).seconds or np.inf
        share = seconds / singles[slowest]
        found.append(Claim(f"{rule}, {size}, against {slowest} alone", "<= 1.3x", f"{share:.2f}x ({1e3 * seconds:.1f} ms)", share <= 1.3))
    return found


def grams(limits: dict[str, float], timeout: float) -> list[Claim]:
    """The time of the Gram matrix against the machine's least: reading the data once, or multiplying at GEMM's peak rate."""
    found = []
    for size in (Size(11, 1_000_000), Size(32, 1_000_000), Size(100, 200_000), Size(1000, 100_000)):
        rows, origin = list(updates(size)), np.zeros(size.d, np.float32)
        seconds = measure(partial(kernels.gram, rows, origin), timeout).seconds or np.inf
        least = gram_limit(size.n, size.d, limits["read_bytes_per_s"], limits["gemm_macs_per_s"])
        text = f"{seconds / least:.2f}x ({1e3 * seconds:.1f} ms)"
        found.append(Claim(f"Gram pass, {size}, against the machine's limit of {1e3 * least:.1f} ms", "<= 3x", text, seconds <= 3 * least))
    return found
