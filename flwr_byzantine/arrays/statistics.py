"""Compiled statistics, loops like those of `loops`: distances, moments of columns, and the geometric median of few rows."""

from __future__ import annotations

import numpy as np

from flwr_byzantine.arrays.loops import FAST, kernel, view


@kernel(fastmath=FAST)
def distances(left, right, like, width, out):
    """Add the squared distance of each row of `left` to its partner in `right` to `out`."""
    for p in range(left.shape[0]):
        x, y = view(left[p], like, 0, width), view(right[p], like, 0, width)
        total = 0.0
        for k in range(width):
            apart = np.float64(x[k]) - np.float64(y[k])
            total += apart * apart
        out[p] += total


@kernel()
def moments(places, like, width, mean, deviation):
    """Write mean and standard deviation of each column, adding one row after another as NumPy does."""
    n = places.shape[0]
    for start in range(0, width, 1024):
        c = min(1024, width - start)
        centre, spread = mean[start : start + c], deviation[start : start + c]
        for i in range(n):
            row = view(places[i], like, start, c)
            for k in range(c):
                centre[k] = np.float64(row[k]) if i == 0 else centre[k] + np.float64(row[k])
        spread[:] = 0.0
        for k in range(c):
            centre[k] /= n
        for i in range(n):
            row = view(places[i], like, start, c)
            for k in range(c):
                apart = np.float64(row[k]) - centre[k]
                spread[k] += apart * apart
        for k in range(c):
            spread[k] = np.sqrt(spread[k] / n)


@kernel(fastmath=FAST)
def departures(places, like, width, point, out):
    """Add the squared distances of all rows to their mean, and of the point to it, to the two values of `out`."""
    n, centre = places.shape[0], np.empty(1024)
    for start in range(0, width, 1024):
        c, spread, apart = min(1024, width - start), 0.0, 0.0
        centre[:] = 0.0
        for i in range(n):
            row = view(places[i], like, start, c)
            for k in range(c):
                centre[k] += np.float64(row[k])
        for k in range(c):
            centre[k] /= n
        for i in range(n):
            row = view(places[i], like, start, c)
            for k in range(c):
                spread += (np.float64(row[k]) - centre[k]) ** 2
        for k in range(c):
            apart += (np.float64(point[start + k]) - centre[k]) ** 2
        out[0] += spread
        out[1] += apart


@kernel()
def beyond_lengths(K, squares, change, least, apart):
    """Write the distances whose `squares` are given to `apart`; their sum less that of the rows' lengths, from each row's own gain."""
    total = 0.0
    for i in range(K.shape[0]):
        apart[i] = np.sqrt(max(squares[i], least))
        gain = change[i] + max(least - squares[i], 0.0) - max(least - K[i, i], 0.0)
        total += gain / (apart[i] + np.sqrt(max(K[i, i], least)))
    return total


@kernel()
def weiszfeld(K, squares, change, least, steps, tol, far):
    """The weights at the fixed point: `GeometricMedian._weiszfeld` says what the arguments are; `squares` and `change` are written over."""
    n = K.shape[0]
    weights, point, apart = squares.copy(), np.empty(n), np.empty(n)
    total = beyond_lengths(K, squares, change, least, apart)
    for _ in range(steps):
        weights[:] = 1.0 / apart
        weights /= weights.sum()
        point[:] = 0.0
        for i in range(n):
            for k in range(n):
                point[k] += weights[i] * K[i, k]
        middle = (weights * point).sum()
        for k in range(n):
            change[k] = middle - 2.0 * point[k]
            squares[k] = K[k, k] + change[k]
        previous, total = total, beyond_lengths(K, squares, change, least, apart)
        gain = previous - total
        if tol > 0 and gain <= tol * apart.sum() and gain <= tol * far * np.median(apart):
            break
    return weights
