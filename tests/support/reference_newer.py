"""Naive rules, as in `reference`, by papers from 2018 on: trust, similarity, signs, groups, and a rule over another."""

import itertools

import numpy as np

from tests.support.reference import clip, median, sq


def fltrust(X, reference):
    norm = np.linalg.norm(reference)
    trust = [max(0.0, x @ reference / np.linalg.norm(x) / norm) for x in X]
    return sum(t * norm / np.linalg.norm(x) * x for t, x in zip(trust, X, strict=True)) / sum(trust)


def foolsgold(X, history):
    n = len(X)
    unit = [h / np.linalg.norm(h) for h in history]
    cs = np.array([[0.0 if i == j else unit[i] @ unit[j] for j in range(n)] for i in range(n)])
    v = cs.max(1)
    for i in range(n):
        for j in range(n):
            if i != j and v[j] > v[i] > 0:
                cs[i, j] *= v[i] / v[j]
    alpha = np.clip(1 - cs.max(1), 0, 1)
    alpha = np.minimum(alpha / alpha.max(), 0.99)
    with np.errstate(divide="ignore"):
        alpha = np.clip(np.log(alpha / (1 - alpha)) + 0.5, 0, 1)
    return alpha / alpha.sum() @ X


def clipped_clustering(X, old_norms=()):
    """Clip to the median of all norms, join clusters by least mean cosine distance until two are left, average the larger."""
    norms = [np.linalg.norm(x) for x in X]
    groups = [[i] for i in range(len(X))]
    while len(groups) > 2:
        pairs = itertools.combinations(range(len(groups)), 2)
        apart = lambda a, b: np.mean([1 - X[i] @ X[j] / norms[i] / norms[j] for i in groups[a] for j in groups[b]])  # noqa: E731
        a, b = min(pairs, key=lambda pair: apart(*pair))
        groups[a] += groups.pop(b)
    members = max(groups, key=len)
    return clip(np.array([X[i] for i in members]), np.median([*old_norms, *norms])).mean(0)


def nearest_rows(X, centre, count):
    return np.mean(sorted(X, key=lambda x: sq(x, centre))[:count], axis=0)


def aksel(X, f):
    return nearest_rows(X, median(X), len(X) - f)


def ctma(X, f, base):
    return nearest_rows(X, base(X, f), len(X) - f)


def gas(X, f, groups, base):
    """`groups` are lists of coordinates."""
    score = [0.0] * len(X)
    for group in groups:
        centre = base(X[:, group], f)
        for i in range(len(X)):
            score[i] += np.sqrt(sq(X[i, group], centre))
    return np.mean([X[i] for i in sorted(range(len(X)), key=lambda i: score[i])[: len(X) - f]], axis=0)


def majority(X):
    out = []
    for column in np.asarray(X).T:
        votes = sum(1 if value > 0 else -1 if value < 0 else 0 for value in column)
        out.append(0.0 if votes == 0 else votes / abs(votes))
    return np.array(out)


def rlr(X, theta, aggregate):
    agree = [abs(sum(np.sign(value) for value in column)) >= theta for column in np.asarray(X).T]
    return np.array([value if agreed else -value for value, agreed in zip(aggregate, agree, strict=True)])


def auto_gm_cost(X, z, alpha, lam):
    return sum(a * np.sqrt(sq(x, z)) for a, x in zip(alpha, X, strict=True)) + lam / 2 * sum(a * a for a in alpha)


def weiszfeld(X, alpha, steps=100):
    y = np.average(X, axis=0, weights=alpha)
    for _ in range(steps):
        weights = [a / max(1e-12, np.sqrt(sq(x, y))) for a, x in zip(alpha, X, strict=True)]
        y = sum(w * x for w, x in zip(weights, X, strict=True)) / sum(weights)
    return y


def auto_gm(X, lam, turns=20):
    alpha = [1 / len(X)] * len(X)
    for _ in range(turns):
        z = weiszfeld(X, alpha)
        d = sorted(np.sqrt(sq(x, z)) for x in X)
        eta = [(sum(d[: p + 1]) + lam) / (p + 1) for p in range(len(X))]
        last = max(p for p in range(len(X)) if eta[p] > d[p])
        alpha = [max(eta[last] - np.sqrt(sq(x, z)), 0) / lam for x in X]
    return weiszfeld(X, alpha)


def fedrdf(X, harmonics):
    out = []
    for column in np.asarray(X).T:
        values = sorted(column)
        t = [np.pi * (v - values[0]) / (values[-1] - values[0]) for v in values]
        density = [sum(np.cos(k * (t[i] - other)) for k in range(1, harmonics + 1) for other in t) / len(t) for i in range(len(t))]
        tied = [v for v, p in zip(values, density, strict=True) if p >= max(density) - 1e-9]
        out.append(tied[(len(tied) - 1) // 2])
    return np.array(out)


def foundation(X, m):
    top, bottom = np.max(X, axis=0), np.min(X, axis=0)
    scores = [min(sq(x, top), sq(x, bottom)) for x in X]
    return np.array([*X, *[X[int(np.argmax(scores))]] * m])
