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
