"""Results as a table, a picture, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from flwr_byzantine.experiments.bench.claims import Verdict
from flwr_byzantine.experiments.bench.machine import gram_limit
from flwr_byzantine.experiments.bench.runner import OURS, Result, Size


def milliseconds(result: Result | None) -> str:
    """The time, or why there is none."""
    if result is None:
        return "-"
    timing = result.timing
    return timing.error.split(":")[0] if timing.seconds is None else f"{1e3 * timing.seconds:,.1f}"


def ratio(ours: Result | None, other: Result | None) -> float | None:
    """How many times faster ours is."""
    if ours is None or other is None or ours.timing.seconds is None or other.timing.seconds is None:
        return None
    return other.timing.seconds / ours.timing.seconds


def rows(results: Sequence[Result], size: Size, contestants: Sequence[str]) -> list[list[str]]:
    """For each rule: name, our time and memory, and for each peer its time and how many times slower it is."""
    found = {(result.rule, result.contestant): result for result in results if result.size == size}
    lines = []
    for name in dict.fromkeys(rule for rule, _ in found):
        ours = found.get((name, OURS))
        memory = None if ours is None else ours.timing.peak
        share = "-" if memory is None else f"{100 * memory / (4 * size.n * size.d):.0f} %"
        cells = [name, milliseconds(ours), share]
        for peer in contestants:
            other = found.get((name, peer))
            times = ratio(ours, other)
            cells.append(milliseconds(other) + ("" if times is None else f" ({times:.1f}x)"))
        lines.append(cells)
    return lines


def headings(contestants: Sequence[str]) -> list[str]:
    """Of the columns of `rows`."""
    return ["rule", f"{OURS} (ms)", "extra memory", *(f"{peer} (ms)" for peer in contestants)]


def tables(results: Sequence[Result], contestants: Sequence[str], limits: dict[str, float]) -> list[Table]:
    """One table a size."""
    found = []
    for size in dict.fromkeys(result.size for result in results):
        least = 1e3 * gram_limit(size.n, size.d, limits["read_bytes_per_s"], limits["gemm_macs_per_s"])
        view = Table(title=f"{size} float32, f = {size.f}; a Gram matrix needs {least:.1f} ms at least here")
        for place, heading in enumerate(headings(contestants)):
            view.add_column(heading, justify="right" if place else "left")
        for line in rows(results, size, contestants):
            view.add_row(*line)
        found.append(view)
    return found


def verdicts(found: Sequence[Verdict]) -> Table:
    """The claims, what was measured, and whether they hold."""
    view = Table("claim", "asked", "measured", "holds", title="What is claimed, measured in this run")
    for verdict in found:
        view.add_row(verdict.claim, verdict.asked, verdict.measured, "yes" if verdict.holds else "NO")
    return view


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table for a README."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *lines])


def report(
    machine: dict[str, Any], limits: dict[str, float], results: Sequence[Result], contestants: Sequence[str], found: Sequence[Verdict]
) -> str:
    """The whole run as Markdown, with the machine described."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    parts = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Python {machine['python']}; {versions}. It reads "
        f"{limits['read_bytes_per_s'] / 1e9:.1f} GB/s and makes {limits['gemm_macs_per_s'] / 1e9:.0f} float32 multiply-adds a nanosecond."
    ]
    for size in dict.fromkeys(result.size for result in results):
        least = 1e3 * gram_limit(size.n, size.d, limits["read_bytes_per_s"], limits["gemm_macs_per_s"])
        parts.append(f"**{size} float32, f = {size.f}** (a Gram matrix needs {least:.1f} ms at least)")
        parts.append(markdown(headings(contestants), rows(results, size, contestants)))
    if found:
        lines = [[item.claim, item.asked, item.measured, "yes" if item.holds else "**no**"] for item in found]
        parts.append(markdown(["claim", "asked", "measured", "holds"], lines))
    return "\n\n".join(parts) + "\n"


def to_json(machine: dict[str, Any], limits: dict[str, float], results: Sequence[Result], found: Sequence[Verdict]) -> str:
    """Everything measured, with the machine described."""
    listed = [{**asdict(result), "size": [result.size.n, result.size.d]} for result in results]
    return json.dumps({"machine": machine, "limits": limits, "results": listed, "claims": [asdict(item) for item in found]}, indent=1)


def plot(results: Sequence[Result], contestants: Sequence[str], path: Path) -> None:
    """Times of each rule as bars on a logarithmic scale, one panel a size."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sizes = list(dict.fromkeys(result.size for result in results))
    names = list(dict.fromkeys(result.rule for result in results))
    columns, lines = min(4, len(sizes)), -(-len(sizes) // 4)
    height = lines * (0.34 * len(names) + 0.8) + 0.8
    figure, grid = plt.subplots(lines, columns, figsize=(4.2 * columns + 1.5, height), sharey=True, squeeze=False, layout="constrained")
    everyone, panels = [OURS, *contestants], list(grid.flat)
    colours = dict(zip(everyone, ("#08519c", "#d95f02", "#1b9e77", "#7570b3"), strict=False))
    for panel, size in zip(panels, sizes, strict=False):
        for shift, who in enumerate(everyone):
            mine = {
                item.rule: item.timing.seconds for item in results if item.contestant == who and item.size == size and item.timing.seconds
            }
            places = [names.index(rule) + (shift - 1.5) * 0.2 for rule in mine]
            panel.barh(places, [1e3 * seconds for seconds in mine.values()], height=0.2, color=colours[who], label=who)
        panel.set(title=str(size), xscale="log", xlabel="milliseconds")
        panel.set_yticks(range(len(names)), names)
        panel.grid(axis="x", alpha=0.3)
    for panel in panels[len(sizes) :]:
        panel.remove()
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(everyone), frameon=False)
    figure.savefig(path, dpi=110 if len(sizes) < 5 else 60)
    plt.close(figure)
