"""Clustering of a few points: mean shift, average linkage and HDBSCAN's cluster of most, as scikit-learn does them without needing it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from flwr_byzantine.arrays.typing import Array

MAX_SHIFTS = 300


def distances(A: Array, B: Array) -> Array:
    """(a, b) Euclidean distances between the rows of A and those of B."""
    return np.asanyarray(np.sqrt(((A[:, None, :] - B[None, :, :]) ** 2).sum(axis=2)))


def kernel_width(points: Array, share: float = 0.5) -> float:
    """Mean distance of the n points to the farthest of their `share` nearest, themselves among these."""
    nearest = max(int(len(points) * share), 1)
    return float(np.sort(distances(points, points), axis=1)[:, nearest - 1].mean())


def mean_shift(points: Array, width: float) -> Array:
    """(n,) cluster labels of (n, k) points by mean shift with a flat kernel of this radius; label 0 has the densest centre.

    A seed at each point moves to the mean of the points within `width` until it moves by less than width / 1000. Centres
    within `width` of a denser one are dropped; each point belongs to the nearest centre left.

    Source: Comaniciu, Meer, IEEE TPAMI 2002.

    Example:
        >>> mean_shift(np.array([[0.0], [0.1], [0.2], [5.0]]), width=1.0).tolist()
        [0, 0, 0, 1]
    """
    centres, moving = points.astype(np.float64), np.ones(len(points), bool)
    for _ in range(MAX_SHIFTS + 1):
        near = distances(centres[moving], points) <= width
        means = near @ points / near.sum(axis=1, keepdims=True)
        shift = np.linalg.norm(means - centres[moving], axis=1)
        centres[moving] = means
        moving[moving] = shift > 1e-3 * width
        if not moving.any():
            break
    return np.asanyarray(distances(points, _separate(centres, points, width)).argmin(axis=1))


def _separate(centres: Array, points: Array, width: float) -> Array:
    """The centres, densest first, without those within `width` of one before them."""
    density = (distances(centres, points) <= width).sum(axis=1)
    order = np.lexsort((*centres.T[::-1], density))[::-1]
    kept = list[int]()
    for i in order:
        if not kept or distances(centres[[i]], centres[kept]).min() > width:
            kept.append(int(i))
    return np.asanyarray(centres[kept])


def two_clusters(apart: Array) -> Array:
    """(n,) labels 0 and 1 of the last two clusters of average linkage, from (n, n) distances, n >= 2.

    Label 0 is the one of the two that was joined last.

    Example:
        >>> points = np.array([[0.0], [0.1], [5.0]])
        >>> two_clusters(distances(points, points)).tolist()
        [0, 0, 1]
    """
    n = len(apart)
    between, sizes, joined, member_of = apart.astype(np.float64), np.ones(n), np.arange(n), np.arange(n)
    np.fill_diagonal(between, np.inf)
    for step in range(n - 2):
        a, b = divmod(int(between.argmin()), n)
        between[a] = between[:, a] = (sizes[a] * between[a] + sizes[b] * between[b]) / (sizes[a] + sizes[b])
        between[b] = between[:, b] = between[a, a] = np.inf
        sizes[a], joined[a], member_of[member_of == b] = sizes[a] + sizes[b], n + step, a
    return np.asanyarray(joined[member_of] < joined[member_of].max(), np.int64)


def densest_majority(apart: Array) -> Array:
    """(n,) bool: the first group of more than half of the points that single linkage joins, from (n, n) distances.

    That is what HDBSCAN finds with clusters of n // 2 + 1 points at least, one neighbour, and a single cluster allowed.

    Source: Campello, Moulavi, Sander, PAKDD 2013.

    Example:
        >>> points = np.array([[0.0], [0.1], [0.2], [5.0]])
        >>> densest_majority(distances(points, points)).tolist()
        [True, True, True, False]
    """
    edges, group = _spanning_edges(apart), np.arange(len(apart))
    for (width, a, b), (following, *_) in pairwise([*edges, (np.inf, 0, 0)]):
        group[group == group[b]] = group[a]
        sizes = np.bincount(group)
        if following > width and sizes.max() > len(apart) // 2:
            break
    return np.asanyarray(group == sizes.argmax())


def _spanning_edges(apart: Array) -> list[tuple[float, int, int]]:
    """The minimum spanning tree's edges, shortest first, by Prim's algorithm."""
    near, source, outside = apart[0].copy(), np.zeros(len(apart), int), np.arange(len(apart)) > 0
    edges = []
    while outside.any():
        new = int(np.where(outside, near, np.inf).argmin())
        edges.append((float(near[new]), int(source[new]), new))
        outside[new] = False
        closer = apart[new] < near
        near[closer], source[closer] = apart[new][closer], new
    return sorted(edges)
