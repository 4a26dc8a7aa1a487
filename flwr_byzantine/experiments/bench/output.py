"""Everything that one run of the benchmark measured, as tables, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flwr_byzantine.experiments.bench.claims import Claim
from flwr_byzantine.experiments.bench.machine import gram_limit
from flwr_byzantine.experiments.bench.runner import OURS, Measurement, Size
from flwr_byzantine.flower.words import escaped
from flwr_byzantine.monitor.show.table import Field, Table


@dataclass(frozen=True)
class Report:
    """One run of the benchmark.

    Attributes:
        machine: as `machine.describe` gives it.
        limits: `read_bytes_per_s` and `gemm_macs_per_s` of this machine.
        contestants: the peers beside ours.
        measured: every contestant's time for every rule and size.
        claims: those that were checked.
    """

    machine: dict[str, Any]
    limits: dict[str, float]
    contestants: Sequence[str]
    measured: Sequence[Measurement]
    claims: Sequence[Claim] = ()

    def tables(self) -> list[Table]:
        """One table a size."""
        return [self._table(size) for size in dict.fromkeys(item.size for item in self.measured)]

    def _table(self, size: Size) -> Table:
        least = 1e3 * gram_limit(size.n, size.d, self.limits["read_bytes_per_s"], self.limits["gemm_macs_per_s"])
        found = {(item.rule, item.contestant): item for item in self.measured if item.size == size}
        header = ("rule", f"{OURS} (ms)", "extra memory", *(f"{peer} (ms)" for peer in self.contestants))
        rows = [row(name, found, self.contestants) for name in dict.fromkeys(rule for rule, _ in found)]
        title = f"{size} float32, f = {size.f}; a Gram matrix needs {least:.1f} ms at least here"
        return Table.of(title, header, rows, right=range(1, len(header)))

    def claims_table(self) -> Table:
        """The claims, what was measured, and whether they hold."""
        rows = [
            (*map(Field, (item.claim, item.asked, item.measured)), Field("yes" if item.holds else "no", best=not item.holds))
            for item in self.claims
        ]
        return Table("What is claimed, measured in this run", ("claim", "asked", "measured", "holds"), tuple(rows))

    def markdown(self) -> str:
        """Everything as Markdown, with the machine described."""
        tables = [*self.tables(), *[self.claims_table()] * bool(self.claims)]
        return "\n".join([f"{describe(self.machine)}. {speeds(self.limits)}.\n", *(table.markdown() for table in tables)])

    def to_json(self) -> str:
        """Everything measured, with the machine described."""
        listed = [{**asdict(item), "size": [item.size.n, item.size.d]} for item in self.measured]
        claims = [asdict(item) for item in self.claims]
        return json.dumps({"machine": self.machine, "limits": self.limits, "results": listed, "claims": claims}, indent=1)


def describe(machine: dict[str, Any]) -> str:
    """The machine in a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    hardware = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
    return escaped(f"{hardware}, Python {machine['python']}; {versions}")


def speeds(limits: dict[str, float]) -> str:
    """What the machine can do, in a sentence."""
    read, multiplied = limits["read_bytes_per_s"] / 1e9, limits["gemm_macs_per_s"] / 1e9
    return f"It reads {read:.1f} GB/s and makes {multiplied:.0f} float32 multiply-adds a nanosecond"


def row(name: str, found: dict[tuple[str, str], Measurement], contestants: Sequence[str]) -> list[str]:
    """One rule: our time and memory, and for each peer its time and how many times slower it is."""
    ours = found.get((name, OURS))
    peers = [found.get((name, peer)) for peer in contestants]
    return [name, milliseconds(ours), memory(ours), *(f"{milliseconds(other)}{_times(ours, other)}" for other in peers)]


def _times(ours: Measurement | None, other: Measurement | None) -> str:
    times = ratio(ours, other)
    return "" if times is None else f" ({times:.1f}x)"


def milliseconds(item: Measurement | None) -> str:
    """The time in milliseconds, or why there is none."""
    if item is None:
        return "-"
    timing = item.timing
    return timing.error.split(":")[0] if timing.seconds is None else f"{1e3 * timing.seconds:,.1f}"


def memory(item: Measurement | None) -> str:
    """Extra memory as a share of the updates'."""
    if item is None or item.timing.peak is None:
        return "-"
    return f"{100 * item.timing.peak / (4 * item.size.n * item.size.d):.0f} %"


def ratio(ours: Measurement | None, other: Measurement | None) -> float | None:
    """How many times faster ours is."""
    if ours is None or other is None or ours.timing.seconds is None or other.timing.seconds is None:
        return None
    return other.timing.seconds / ours.timing.seconds
