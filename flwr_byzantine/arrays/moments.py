"""Mean and standard deviation of columns."""

from __future__ import annotations

import numpy as np

from flwr_byzantine.arrays import compiled
from flwr_byzantine.arrays.parallel import cache_sized_parts, equal_parts, run
from flwr_byzantine.arrays.typing import Array


def moments(rows: Array) -> tuple[Array, Array]:
    """(d,) float64 mean and standard deviation of each column of (n, d) rows, with divisor n: NumPy's, part by part in cache, on all cores.

    Example:
        >>> [found.tolist() for found in moments(np.array([[0.0, 1.0], [2.0, 1.0]]))]
        [[1.0, 1.0], [1.0, 0.0]]
    """
    mean, deviation = np.empty(rows.shape[1]), np.empty(rows.shape[1])
    places = compiled.RowAddresses.of(rows) if rows.shape[1] > 1 and compiled.supports(rows) else None

    def work(part: slice) -> None:
        if places is not None:
            compiled.moments_into(places, part, mean, deviation)
            return
        block = rows[:, part].astype(np.float64, copy=False)
        mean[part], deviation[part] = block.mean(axis=0), block.std(axis=0)

    run(
        work, cache_sized_parts(*rows.shape) if places is None else equal_parts(rows.shape[1]), compiled=places is not None, reads=rows.size
    )
    return mean, deviation


def departures(rows: Array, point: Array) -> tuple[float, float]:
    """Mean squared distance of (n, d) rows to their mean, and the squared distance of a (d,) point to it, in one pass over the rows.

    Example:
        >>> departures(np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([1.0, 4.0]))
        (1.0, 9.0)
    """
    if not (rows.shape[1] > 1 and compiled.supports(rows)):
        mean, deviation = moments(rows)
        return float(deviation @ deviation), float((point - mean) @ (point - mean))
    places = compiled.RowAddresses.of(rows)
    found = run(lambda part: compiled.departures(places, point, part), equal_parts(rows.shape[1]), compiled=True, reads=rows.size)
    spread, apart = np.sum(list(found), axis=0)
    return float(spread) / len(rows), float(apart)
