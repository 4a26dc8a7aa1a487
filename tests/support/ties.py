"""Columns in which values tie, repeat and mirror each other: a search for the largest κ from there, many columns at a time.

The rules searched are coordinate-wise, so each column is one problem in d = 1; its last f rows are the Byzantine ones.
"""

import numpy as np

POINTS = np.array([-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0])


def columns(n, f, count, rng):
    """(n, count): honest rows on three points, colluders on two values that are among these, their mirror images or in between."""
    return np.stack([_column(n, f, rng) for _ in range(count)], axis=1)


def _column(n, f, rng):
    h = n - f
    edges = np.array([0, 1, f - 1, f, f + 1, h - f - 1, h - f, h - f + 1, n // 2 - 1, n // 2, n // 2 + 1, h - 1, h])
    low, high = np.sort(rng.choice(edges, 2).clip(0, h) if rng.random() < 0.5 else rng.integers(0, h + 1, 2))
    points, split = rng.choice(POINTS, 3), rng.integers(0, f + 1)
    bad = rng.choice([*points, *-points, *(2 * points[0] - points), *(2 * points[1] - points)], 2)
    return np.repeat([*points, *bad], [low, high - low, h - high, split, f - split])


def ratios(rule, X, f):
    """(columns,) squared error of the rule over the honest rows' variance; 0 where they do not vary."""
    good = X[: len(X) - f]
    spread = good.var(axis=0)
    return np.divide((rule(X) - good.mean(axis=0)) ** 2, spread, out=np.zeros(X.shape[1]), where=spread > 1e-12)


def moved(X, rng):
    """The columns after one move each: all, some or one of the rows of one value go to another value, its mirror image, or near it."""
    n, width = X.shape
    at, row = np.arange(width), rng.integers(0, n, width)
    value, other, kind = X[row, at], X[rng.integers(0, n, width), at], rng.integers(0, 3, width)
    to = np.select(
        [kind == 0, kind == 1], [other, 2 * np.median(X, axis=0) - other], other + rng.choice([-1, -0.5, -0.25, 0.25, 0.5, 1], width)
    )
    share = rng.choice([0.0, 0.1, 0.5, 1.0], width)
    goes = np.equal(X, value) & (rng.random((n, width)) < share)
    goes[row, at] = True
    return np.where(goes, to, X)


def largest_kappa(rule, n, f, count, steps, seed=0):
    """The largest ratio found from `count` columns after `steps` moves each, kept where the ratio grows."""
    rng = np.random.default_rng(seed)
    X = columns(n, f, count, rng)
    best = ratios(rule, X, f)
    for _ in range(steps):
        trial = moved(X, rng)
        found = ratios(rule, trial, f)
        X, best = np.where(found > best, trial, X), np.maximum(found, best)
    return float(best.max())
