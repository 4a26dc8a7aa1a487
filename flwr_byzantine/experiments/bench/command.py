"""The body of `flwr-byzantine bench`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from flwr_byzantine import rules
from flwr_byzantine.arrays.kernels import SINGLE_WIDTH
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.bench import claims, machine, output
from flwr_byzantine.experiments.bench.contestants import PEERS, peers
from flwr_byzantine.experiments.bench.measure import isolated
from flwr_byzantine.experiments.bench.plot import plot as draw
from flwr_byzantine.experiments.bench.runner import Measurement, Size, bench, entries, select, updates
from flwr_byzantine.monitor.show.printing import show
from flwr_byzantine.monitor.show.terminal import progress, say

QUICK = ("11x1e5", "32x1e6", "100x2e5")
WIDTHS, COUNTS = (10_000, 100_000, 1_000_000, 10_000_000), (11, 32, 100, 1000)


def everything() -> list[Size]:
    """All sizes with n in {11, 32, 100, 1000} and d in {1e4, ..., 1e7} whose updates take a quarter of the memory at most."""
    return [Size(n, d) for n in COUNTS for d in WIDTHS if 4 * n * d <= machine.memory() / 4]


def run(
    console: Console,
    sizes: Sequence[str],
    only: Sequence[str],
    full: bool,
    check_claims: bool,
    timeout: float,
    json: Path | None,
    plot: Path | None,
    markdown: Path | None,
) -> bool:
    """Run the contests and print them; whether all claims that were checked hold.

    Raises:
        InvalidParameter: a size or a rule that does not exist.
    """
    chosen = everything() if full else [Size.parse(text) for text in (sizes or QUICK)]
    select(only)
    report = _begun(console)
    report = replace(report, measured=_with_bar(chosen, report.contestants, only, timeout))
    for table in report.tables():
        show(table, console)
    if check_claims:
        report = replace(report, claims=claims.check(report.contestants, report.limits, 2 * timeout))
        show(report.claims_table(), console)
    _write(report, json, plot, markdown)
    return all(claim.holds for claim in report.claims)


def _begun(console: Console) -> output.Report:
    """A report without measurements, whose machine and limits are printed."""
    contestants = peers()
    prepare(contestants)
    report = output.Report(machine.describe(), limits_here(), contestants, [])
    say(console, output.describe(report.machine))
    say(console, output.speeds(report.limits))
    return report


def _write(report: output.Report, json: Path | None, plot: Path | None, markdown: Path | None) -> None:
    if json is not None:
        json.write_text(report.to_json() + "\n", encoding="utf-8")
    if markdown is not None:
        markdown.write_text(report.markdown(), encoding="utf-8")
    if plot is not None and report.measured:
        draw(report.measured, report.contestants, plot)


def prepare(contestants: Sequence[str]) -> None:
    """Import the peers and compile what the contests use, before the first contestant's process is forked and its time runs."""
    for name in contestants:
        importlib.import_module(PEERS[name])
    X, mixed = updates(Size(11, SINGLE_WIDTH)), rules.chain(rules.NNM(f=2), rules.Median())
    for rule in (rules.Krum(f=2), rules.GeometricMedian(f=2), rules.MeaMed(f=2), rules.CGE(f=2), mixed):
        rule(X)


def limits_here() -> dict[str, float]:
    """What this machine can do at most, measured now on all cores: bytes read and float32 multiply-adds a second."""
    pair = isolated(lambda: (machine.read_bandwidth(), machine.gemm_peak()), 120.0)
    if not isinstance(pair, tuple):
        raise InvalidParameter(f"bench: the machine's limits could not be measured: {pair}")
    return {"read_bytes_per_s": pair[0], "gemm_macs_per_s": pair[1]}


def _with_bar(sizes: Sequence[Size], found: Sequence[str], only: Sequence[str], timeout: float) -> list[Measurement]:
    total = sum(1 for size in sizes for _ in entries(select(only), size, found, np.empty((1, 1))))
    with progress(width=46, transient=True) as bar:
        task = bar.add_task("making the updates", total=total)

        def step(item: Measurement) -> None:
            bar.update(task, description=f"{item.rule}, {item.contestant}, {item.size}", advance=1)

        return bench(sizes, found, only, timeout, step)
