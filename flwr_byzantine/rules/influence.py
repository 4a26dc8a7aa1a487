"""How much of an aggregate each row owns: non-negative shares that sum to 1."""

from __future__ import annotations

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.window import Window
from flwr_byzantine.rules.view import View


def of_windows(window: Window, view: View, n: int) -> Array:
    """(n,) each row's share of the values that a coordinate-wise rule averages, over evenly spaced coordinates.

    Of values that are equal, each counts as an equal part of the ranks that they have inside the window.

    Args:
        window: which sorted values are averaged.
        view: the rows that the rule saw.
        n: number of updates, of which the view's rows may be mixtures.
    """
    values = view.updates.sample(mixing=view.rows).T
    ascending = np.sort(values, axis=1)
    start, length = window.first(ascending)
    ranks = np.arange(view.n)
    within = (ranks >= start[:, None]) & (ranks < start[:, None] + length)
    low, high = (np.take_along_axis(ascending, ends[:, None], axis=1) for ends in (start, start + length - 1))
    inside = ((values > low) & (values < high)).astype(np.float64)
    for end in (low, high):  # where both are one value, the second time changes nothing
        tied = values == end
        inside[tied] = np.repeat(((ascending == end) & within).sum(axis=1) / tied.sum(axis=1), tied.sum(axis=1))
    counts = inside.sum(axis=0)
    return shares(counts if view.rows is None else np.abs(counts @ view.rows)[:n])


def shares(values: Array) -> Array:
    """Non-negative values divided by their sum; equal shares where all are zero."""
    total = float(values.sum())
    return values / total if total > 0 else np.full(len(values), 1.0 / len(values))
