"""What the machine is and what it can do: the limits that no aggregation can beat."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from flwr_byzantine.arrays import compiled, parallel

PACKAGES = ("flwr-byzantine", "numpy", "numba", "flwr", "byzfl", "byzpy", "torch")


def describe() -> dict[str, Any]:
    """Processor, cores, memory and versions."""
    versions = {name: metadata.version(name) for name in PACKAGES if _installed(name)}
    return {
        "processor": _processor(),
        "cores": parallel.cores(),
        "memory_gib": round(memory() / 2**30, 1),
        "python": platform.python_version(),
        "versions": versions,
        "compiled_kernels": compiled.AVAILABLE,
    }


def memory() -> float:
    """Bytes of the machine's memory; NaN where the system does not tell."""
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) if hasattr(os, "sysconf") else float("nan")


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def read_bandwidth(size: int = 1 << 28) -> float:
    """Bytes a second that all cores together read from memory, best of five passes over `size` bytes."""
    data = np.ones(size // 4, np.float32)
    parts = [data[i : i + (1 << 20)] for i in range(0, len(data), 1 << 20)]
    return size / _best(lambda: list(parallel.run(np.max, parts)))


def gemm_peak(n: int = 2048) -> float:
    """Float32 multiply-adds a second of NumPy's matrix product on all cores, best of five."""
    left, right = np.random.default_rng(0).normal(size=(2, n, n)).astype(np.float32)
    return n**3 / _best(lambda: left @ right)


def _best(task: Callable[[], Any], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        task()
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def gram_limit(n: int, d: int, bandwidth: float, peak: float) -> float:
    """Seconds that a Gram matrix of n rows of d float32 needs at least: reading them once, or n²d/2 multiply-adds."""
    return max(4 * n * d / bandwidth, n * n * d / 2 / peak)
