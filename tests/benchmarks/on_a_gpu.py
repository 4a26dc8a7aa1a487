"""Rules on updates that lie on a GPU: against the same updates in the processors' memory, plain PyTorch, and ByzFL if installed.

A table for each size. "processors" and "GPU" are ours, on NumPy arrays and on tensors; the others get the same tensors. In
brackets, how many times ours on the GPU that is; then the memory taken on the GPU above the updates, the result included; then
how far the result is from ours on the processors, as a share of its norm. Plain PyTorch is what one writes without a library, in
float32; ByzFL's geometric median is three steps. f = n // 5; medians of one run.

Run: python tests/benchmarks/on_a_gpu.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from flwr_byzantine import rules
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.experiments.bench import contestants
from flwr_byzantine.experiments.bench.machine import describe

DEVICE, SIZES = "cuda", [(32, 1_000_000), (100, 1_000_000), (32, 25_000_000), (100, 25_000_000)]
HEAD = "| rule | processors (ms) | GPU (ms) | plain PyTorch (ms) | ByzFL (ms) |"
REPEATS, ENOUGH = 10, 1.0  # of a measurement: how many at most, and the seconds after which there are no more


def krum(X: Tensor, f: int, m: int = 1) -> Tensor:
    """Mean of the m rows with the smallest sums of squared distances to their n - f - 2 nearest ones."""
    scores = torch.cdist(X, X).square().sort(dim=1).values[:, 1 : len(X) - f - 1].sum(dim=1)
    return X[scores.argsort()[:m]].mean(dim=0)


def nnm_trimmed_mean(X: Tensor, f: int) -> Tensor:
    """Trimmed mean of the means of each row's n - f nearest ones."""
    nearest = torch.cdist(X, X).topk(len(X) - f, largest=False).indices
    weights = torch.zeros(len(X), len(X), device=X.device).scatter_(1, nearest, 1 / (len(X) - f))
    return (weights @ X).sort(dim=0).values[f : len(X) - f].mean(dim=0)


def geometric_median(X: Tensor, f: int) -> Tensor:
    """Weiszfeld's iteration from the mean, until a step is below a 1e-5th of the point."""
    point, moved = X.mean(dim=0), torch.ones((), device=X.device)
    while moved > 1e-5:
        weights = 1 / (X - point).norm(dim=1).clamp(min=1e-6)
        following = weights @ X / weights.sum()
        moved, point = (following - point).norm() / following.norm(), following
    return point


def coordinate_median(X: Tensor, f: int) -> Tensor:
    """Mean of the one or two values in the middle of each column."""
    return X.sort(dim=0).values[(len(X) - 1) // 2 : len(X) // 2 + 1].mean(dim=0)


PLAIN: dict[str, Callable[[Tensor, int], Tensor]] = {
    "krum": krum,
    "multi-krum": lambda X, f: krum(X, f, len(X) - f),
    "nnm+trimmed-mean": nnm_trimmed_mean,
    "geometric-median": geometric_median,
    "median": coordinate_median,
}


def finish() -> None:
    """Wait until the GPU has done all that it was asked for."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds(task: Callable[[], Any]) -> float:
    """Median time of a call."""
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < ENOUGH:
        finish()
        begun = time.perf_counter()
        task()
        finish()
        times.append(time.perf_counter() - begun)
    return median(times)


def megabytes(task: Callable[[], Any]) -> float:
    """What a call takes on the GPU at most, above what is there; 0 where there is no GPU."""
    if DEVICE != "cuda":
        return 0.0
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    task()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def cell(task: Callable[[], Tensor], expected: Tensor, ours: float | None = None) -> tuple[str, float]:
    """Time, ratio, memory and error of a call on the GPU, as text; and the time."""
    try:
        error = float((task() - expected).double().norm() / expected.double().norm())
        taken, memory = seconds(task), megabytes(task)
    except torch.OutOfMemoryError:
        return "out of memory", float("nan")
    ratio = "" if ours is None else f" ({taken / ours:.2f}x)"
    return f"{1e3 * taken:.1f}{ratio}, {memory:,.0f} MB, {error:.0e}", taken


def line(name: str, X: Tensor, host: Array, f: int) -> str:
    """A row of the table."""
    rule = rules.parse(name, f=f)
    expected = torch.from_numpy(rule(host)).to(DEVICE)
    ours, taken = cell(lambda: rule(X), expected)
    here = seconds(lambda: rule(host))
    others = [cell(lambda: PLAIN[name](X, f), expected, taken)[0]]
    peers = next(contest.peers for contest in contestants.CONTESTS if contest.name == name)
    if "ByzFL" in contestants.peers():
        others.append(cell(lambda: peers["ByzFL"](f)(X), expected, taken)[0])
    return " | ".join([name, f"{1e3 * here:.1f} ({here / taken:.1f}x)", ours, *[*others, "-"][:2]])


def table(n: int, d: int) -> None:
    """Print the table of one size, row by row."""
    f = n // 5
    X = torch.randn(n, d, device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(0)) + 0.5
    X[:f] *= -2
    print(f"\n**{n} x {d:,} float32, f = {f}**\n\n{HEAD}\n{'| --- ' * HEAD.count(' | ')}| --- |")
    host = X.cpu().numpy()
    for name in PLAIN:
        print(f"| {line(name, X, host, f)} |", flush=True)


def main() -> None:
    """A table for each size."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        sys.exit("expected a CUDA device, found none")
    print(torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE, describe(), f"CUDA {torch.version.cuda}")
    for n, d in SIZES:
        table(n, d)


if __name__ == "__main__":
    main()
