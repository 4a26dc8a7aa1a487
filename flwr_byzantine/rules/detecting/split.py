"""Scores on a line: are they one cluster or two, and which are the larger ones."""

from __future__ import annotations

import numpy as np

from flwr_byzantine.arrays.typing import Array

LEAST = 1e-18  # a sum of squares below this is rounding


def halves(scores: Array) -> tuple[Array, float | None]:
    """(n,) bool, those of the lower cluster of exact 2-means; and the bound between both, None where all scores are equal.

    Example:
        >>> kept, bound = halves(np.array([1.0, 9.0, 1.5, 8.0]))
        >>> kept.tolist(), bound
        ([True, False, True, False], 4.875)
    """
    ordered = np.sort(scores)
    cut = _best_cut(ordered)
    if cut is None:
        return np.ones(len(scores), bool), None
    return scores <= ordered[cut - 1], float(ordered[:cut].mean() / 2 + ordered[cut:].mean() / 2)


def two_or_one(scores: Array, references: int, rng: np.random.Generator) -> bool:
    """Whether the gap statistic finds more than one cluster: gap(1) < gap(2) - s(2), against uniform samples of the scores' range.

    Three scores at least; equal ones are one cluster.

    Source: Tibshirani, Walther, Hastie, Journal of the Royal Statistical Society B 2001.
    """
    low, high = float(scores.min()), float(scores.max())
    if len(scores) < 3 or not high > low:
        return False
    points = np.sort((scores - low) / (high - low))
    samples = np.sort(rng.random((references, len(scores))), axis=1)
    uniform = np.log([[_within(row, False), _within(row, True)] for row in samples])
    gaps = uniform.mean(axis=0) - np.log([_within(points, False), _within(points, True)])
    return bool(gaps[0] < gaps[1] - uniform[:, 1].std() * np.sqrt(1 + 1 / references))


def _within(ordered: Array, divided: bool) -> float:
    """Sum of squares within the best two clusters, or within one."""
    cut = _best_cut(ordered) if divided else None
    parts = [ordered] if cut is None else [ordered[:cut], ordered[cut:]]
    return max(LEAST, float(sum(((part - part.mean()) ** 2).sum() for part in parts)))


def _best_cut(ordered: Array) -> int | None:
    """How many of the ascending values are in the lower cluster; None where all are equal."""
    n = len(ordered)
    cuts = np.flatnonzero(ordered[1:] > ordered[:-1]) + 1
    if not len(cuts):
        return None
    centred = (ordered - ordered[n // 2]) / (ordered[-1] - ordered[0])
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    between = sums[cuts] ** 2 / cuts + (sums[-1] - sums[cuts]) ** 2 / (n - cuts)
    return int(cuts[np.argmax(between)])
