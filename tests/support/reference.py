"""Naive rules written from the papers' formulas, in plain loops over float64: what the fast paths are held against."""

import itertools

import numpy as np


def sq(a, b):
    return float(((a - b) ** 2).sum())


def krum_scores(X, f):
    n = len(X)
    k = max(1, n - f - 2)
    return [sum(sorted(sq(X[i], X[j]) for j in range(n) if j != i)[:k]) for i in range(n)]


def krum(X, f):
    return X[int(np.argmin(krum_scores(X, f)))]


def multi_krum(X, f, m):
    scores = krum_scores(X, f)
    return np.mean([X[i] for i in sorted(range(len(X)), key=lambda i: scores[i])[:m]], axis=0)


def iterate_krum(X, f, count):
    left, picks = list(range(len(X))), []
    for _ in range(count):
        scores = krum_scores([X[i] for i in left], f)
        picks.append(left.pop(int(np.argmin(scores))))
    return picks


def iterated_multi_krum(X, f, m):
    return np.mean([X[i] for i in iterate_krum(X, f, m)], axis=0)


def nearest_median(X, count):
    out = []
    for column in np.asarray(X).T:
        centre = np.median(column)
        out.append(np.mean(sorted(sorted(column), key=lambda v: abs(v - centre))[:count]))
    return np.array(out)


def bulyan(X, f):
    theta = len(X) - 2 * f
    return nearest_median([X[i] for i in iterate_krum(X, f, theta)], theta - 2 * f)


def median(X, f=0):
    return np.array([np.median(column) for column in np.asarray(X).T])


def trimmed_mean(X, f):
    return np.array([np.mean(sorted(column)[f : len(column) - f]) for column in np.asarray(X).T])


def mean(X, f=0):
    return np.mean(X, axis=0)


def nnm(X, f):
    n = len(X)
    out = []
    for i in range(n):
        near = sorted(range(n), key=lambda j: (j != i, sq(X[i], X[j])))[: n - f]
        out.append(np.mean([X[j] for j in near], axis=0))
    return np.array(out)


def geometric_median_cost(X, y):
    return sum(np.sqrt(sq(x, y)) for x in X)


def subsets(n, size):
    return itertools.combinations(range(n), size)


def phocas(X, f):
    out = []
    for column in np.asarray(X).T:
        centre = np.mean(sorted(column)[f : len(column) - f])
        out.append(np.mean(sorted(sorted(column), key=lambda v: abs(v - centre))[: len(column) - f]))
    return np.array(out)


def cge(X, f):
    return np.mean(sorted(X, key=lambda x: float((x**2).sum()))[: len(X) - f], axis=0)


def mda(X, f):
    def diameter(S):
        return max((sq(X[i], X[j]) for i, j in itertools.combinations(S, 2)), default=0.0)

    return np.mean([X[i] for i in min(subsets(len(X), len(X) - f), key=diameter)], axis=0)


def smea(X, f):
    def spread(S):
        Y = np.array([X[i] for i in S])
        Y = Y - Y.mean(0)
        return float(np.linalg.norm(Y, 2) ** 2)

    return np.mean([X[i] for i in min(subsets(len(X), len(X) - f), key=spread)], axis=0)


def monna(X, f):
    return np.mean(sorted(X, key=lambda x: sq(x, X[0]))[: len(X) - f], axis=0)


def caf(X, f):
    X = np.asarray(X)
    n, c, best, answer = len(X), np.ones(len(X)), np.inf, None
    while c.sum() > n - 2 * f or answer is None:
        mean = c @ X / c.sum()
        Y = (X - mean) * np.sqrt(c / c.sum())[:, None]
        value, direction = np.linalg.norm(Y, 2) ** 2, np.linalg.svd(Y, full_matrices=False)[2][0]
        if value < best:
            best, answer = value, mean
        tau = ((X - mean) @ direction) ** 2
        c = c * (1 - tau / tau[c > 0].max())
        c[c < 1e-12] = 0
    return answer


def dnc(X, f):
    Y = X - np.mean(X, axis=0)
    score = (Y @ np.linalg.svd(Y, full_matrices=False)[2][0]) ** 2
    return X[np.argsort(score, kind="stable")[: len(X) - f]].mean(0)


def centered_clipping(X, tau, steps):
    v = np.zeros(np.shape(X)[1])
    for _ in range(steps):
        v = v + np.mean([(x - v) * min(1.0, tau / np.linalg.norm(x - v)) for x in X], axis=0)
    return v


def clip(X, radius):
    return np.array([x * min(1.0, radius / np.linalg.norm(x)) for x in X])


def arc(X, f):
    n = len(X)
    norms = sorted((np.linalg.norm(x) for x in X), reverse=True)
    return clip(X, norms[2 * f * (n - f) // n])


def geometric_median_iterates(X, nu, steps):
    """Smoothed Weiszfeld from the origin, `nu` in the units of the rows."""
    y = np.zeros(np.shape(X)[1])
    for _ in range(steps):
        weights = [1 / max(nu, np.sqrt(sq(x, y))) for x in X]
        y = sum(w * x for w, x in zip(weights, X, strict=True)) / sum(weights)
    return y


def bulyan_once(X, f):
    scores, theta = krum_scores(X, f), len(X) - 2 * f
    picks = sorted(range(len(X)), key=lambda i: scores[i])[:theta]
    return nearest_median([X[i] for i in picks], theta - 2 * f)


def wide_krum(X, f):
    n = len(X)
    return X[int(np.argmin([sum(sorted(sq(X[i], X[j]) for j in range(n) if j != i)[: n - f - 1]) for i in range(n)]))]


def fourth_krum(X, f):
    n = len(X)
    return X[int(np.argmin([sum(sorted(sq(X[i], X[j]) ** 2 for j in range(n) if j != i)[: n - f - 2]) for i in range(n)]))]
