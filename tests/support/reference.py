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
