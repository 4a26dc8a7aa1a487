"""Detectors as their papers have them: plain loops over clients, with dictionaries for memories. Slow."""

import itertools
import math

import numpy as np


class FLDetector:
    def __init__(self, window):
        self.window, self.last, self.errors, self.steps, self.changes, self.rounds, self.before = window, {}, {}, [], [], 0, None

    def scores(self, t, rows, aggregate):
        """Scores by node of one round; `aggregate` is the last round's, which is how the model moved."""
        if aggregate is not None:
            if self.before is not None:
                self.changes.append(aggregate - self.before)
            self.steps.append(aggregate)
            self.before = aggregate
        apart = {}
        for node, row in rows.items():
            if node in self.last and t - self.last[node][0] <= min(len(self.steps), self.window + 1):
                seen, update = self.last[node]
                apart[node] = np.linalg.norm(row - update - self.product(sum(self.steps[seen - t :])))
        total = sum(apart.values()) / len(apart) if apart else 1.0
        for node, row in rows.items():
            self.errors.setdefault(node, []).append(apart[node] / total if node in apart else None)
            self.last[node] = (t, row)
        self.rounds += bool(apart)
        found = {}
        for node in rows:
            own = [error for error in self.errors[node][-self.window :] if error is not None]
            found[node] = sum(own) / len(own) if own else None
        others = [score for score in found.values() if score is not None]
        return {node: (np.median(others) if others else 0.0) if score is None else score for node, score in found.items()}

    def product(self, v):
        """The Hessian's approximation itself, d × d, by the textbook's update of BFGS from σ I."""
        pairs = list(zip(self.steps[-1 - len(self.changes[-self.window :]) : -1], self.changes[-self.window :], strict=True))
        if not pairs:
            return 0.0 * v
        s, y = pairs[-1]
        B = (y @ s) / (s @ s) * np.eye(len(v))
        for s, y in pairs:
            B = B - np.outer(B @ s, B @ s) / (s @ B @ s) + np.outer(y, y) / (y @ s)
        return B @ v


def flanders(matrices, now, max_iter):
    """Squared distances of the columns of `now` (c × n) to A Θ B, fitted to the c × n matrices by alternating ridge regressions."""
    scale = max(abs(matrix).max() for matrix in matrices)
    past = [matrix / scale for matrix in matrices]
    c, n = now.shape
    A, B = np.eye(c), np.eye(n)
    for _ in range(max_iter):
        last, own, cross = B, np.eye(c), np.zeros((c, c))
        for old, new in itertools.pairwise(past):
            own, cross = own + old @ B @ B.T @ old.T, cross + new @ B.T @ old.T
        A, own, cross = cross @ np.linalg.inv(own), np.eye(n), np.zeros((n, n))
        for old, new in itertools.pairwise(past):
            own, cross = own + old.T @ A.T @ A @ old, cross + old.T @ A.T @ new
        B = np.linalg.inv(own) @ cross
        if abs(B - last).max() <= 1e-6 * abs(last).max():
            break
    return [float(((A @ past[-1] @ B)[:, i] * scale - now[:, i]) @ ((A @ past[-1] @ B)[:, i] * scale - now[:, i])) for i in range(n)]


def median_of(vectors):
    """The index of the vector whose ball over more than half of all is the smallest, and its radius."""
    apart = [[float(np.linalg.norm(x - y)) for y in vectors] for x in vectors]
    reach = [sorted(row)[len(vectors) // 2] for row in apart]
    middle = min(range(len(vectors)), key=lambda i: sum(apart[i]) if reach[i] <= min(reach) * (1 + 1e-6) else np.inf)
    return middle, reach[middle]


class SafeGuard:
    def __init__(self, short, long):
        self.windows, self.sums, self.out = {"short": short, "long": long}, {}, {}

    def scores(self, t, rows):
        good = [node for node in rows if node not in self.out]
        far = dict.fromkeys(rows, 0.0)
        for name, length in self.windows.items():
            begun = t - t % length
            for node, row in rows.items():
                seen, total, count = self.sums.get((name, node), (-1, 0.0, 0))
                total, count = (0.0, 0) if seen < begun else (total, count)
                self.sums[name, node] = (t, total + row / len(good), count + 1)
            most = max(self.sums[name, node][2] for node in rows)
            even = {node: self.sums[name, node][1] * most / self.sums[name, node][2] for node in rows}
            middle, radius = median_of([even[node] for node in good])
            for node in rows:
                far[node] = max(far[node], np.linalg.norm(even[node] - even[good[middle]]) / (2 * radius))
        for node in rows:
            far[node] = max(far[node], self.out.get(node, 0.0))
            if far[node] > 1:
                self.out[node] = far[node]
        return far


class MartingaleFilter:
    def __init__(self, rounds, delta):
        self.rounds, self.delta, self.A, self.B, self.count, self.out = rounds, delta, {}, {}, {}, {}

    def scores(self, rows, way):
        nodes, m = list(rows), len(rows)
        for node, row in rows.items():
            self.A[node] = self.A.get(node, 0.0) + row @ way
            self.B[node] = self.B.get(node, 0.0) + row
            self.count[node] = self.count.get(node, 0) + 1
        A = {node: self.A[node] / self.count[node] for node in nodes}
        B = [self.B[node] / self.count[node] for node in nodes]
        now, radius = median_of([rows[node] for node in nodes])
        V, B_med = radius / 2, B[median_of(B)[0]]
        found = {}
        for i, node in enumerate(nodes):
            own = 4 * V * math.sqrt(math.log(16 * m * self.rounds / self.delta) / self.count[node])
            ratios = [np.linalg.norm(rows[node] - rows[nodes[now]]) / (4 * V), np.linalg.norm(B[i] - B_med) / (2 * own)]
            if way @ way > 0:
                ratios.append(abs(A[node] - np.median(list(A.values()))) / (np.linalg.norm(way) * own))
            found[node] = max([*ratios, self.out.get(node, 0.0)])
            if found[node] > 1:
                self.out[node] = found[node]
        return found


def lasa(X, layers, sparsity, most_length, most_sign):
    """The aggregate from (n, d) rows; `layers` are (shape, start, stop)."""
    n, d = X.shape
    middle = np.median([np.linalg.norm(x) for x in X])
    clipped = [x * min(1.0, middle / np.linalg.norm(x)) for x in X]
    sparse = []
    for x in X:
        weights = sorted(abs(x[k]) for shape, start, stop in layers if len(shape) > 1 for k in range(start, stop))
        least = len(weights) - int(len(weights) * (1 - sparsity))
        cut = weights[least - 1] if least else -1.0
        kept = x.copy()
        for shape, start, stop in layers:
            for k in range(start, stop):
                kept[k] = 0.0 if len(shape) > 1 and abs(x[k]) <= cut else x[k]
        sparse.append(kept)
    value = np.zeros(d)
    for _, start, stop in layers:
        lengths = [np.linalg.norm(x[start:stop]) for x in sparse]
        purity = [(1 + np.sign(x[start:stop]).sum() / max(1, np.count_nonzero(x[start:stop]))) / 2 for x in sparse]
        stay = [i for i in range(n) if z(lengths, i) < most_length - 1e-9 and z(purity, i) < most_sign - 1e-9] or range(n)
        value[start:stop] = sum(clipped[i][start:stop] for i in stay) / len(stay)
    return value


def z(values, i):
    return abs(values[i] - np.median(values)) / np.std(values) if np.std(values) > 0 else 0.0


def deepsight(X, W, P, cluster, outputs, own, tau):
    """Shares of suspicious ones in each client's cluster; X are rows of P × W weights, then P biases; `outputs` of each client."""
    n, energies, above = len(X), [], []
    for x in X:
        energy = [(abs(x[P * W + p]) + sum(abs(x[p * W + k]) for k in range(W))) ** 2 for p in range(P)]
        energies.append([value / sum(energy) for value in energy])
        above.append(sum(value > max(0.01, 1 / P) * max(energies[-1]) for value in energies[-1]))
    suspicious = [count <= np.median(above) / 2 for count in above]
    bias = [x[P * W :] for x in X]
    cosine = [[1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in bias] for a in bias]
    labels = [cluster(np.array(energies), False, False), cluster(np.maximum(np.array(cosine), 0), True, False)]
    ddifs = []
    for part in np.array_split(np.arange(len(own)), 3):
        means = [[np.mean([output[s][c] / (own[s][c] + 1e-6) for s in part]) for c in range(len(own[0]))] for output in outputs]
        ddifs.append(cluster(np.array(means), False, False))
    apart = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            of_ddifs = np.mean([found[i] != found[j] for found in ddifs])
            apart[i, j] = np.mean([labels[0][i] != labels[0][j], labels[1][i] != labels[1][j], of_ddifs])
    final = cluster(apart, True, True)
    return [1.0 if final[i] < 0 else np.mean([suspicious[j] for j in range(n) if final[j] == final[i]]) for i in range(n)]
