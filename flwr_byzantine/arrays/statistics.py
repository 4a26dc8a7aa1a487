"""Compiled statistics, loops like those of `loops`: distances, products with one row, moments, and the geometric median of few rows."""

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


@kernel(fastmath=FAST)
def last_products(places, like, origin, width, depth, out):
    """Add the products of all rows with the last one to its column of `out`, in whole tiles of `depth` columns.

    The bits are those of `loops.gram`: 16 sums are in registers here too. Nothing is copied: 16 rows at a time are read where they lie.
    """
    n, zero, none = places.shape[0], like.dtype.type(0), np.zeros(depth, like.dtype)
    for i in range(0, n, 16):
        for start in range(0, width, depth):
            base = view(origin, like, start, depth) if origin > 0 else none
            row = view(places[n - 1], like, start, depth)
            a0, a1, a2, a3 = _four(places, like, i, start, depth)
            a4, a5, a6, a7 = _four(places, like, i + 4, start, depth)
            a8, a9, a10, a11 = _four(places, like, i + 8, start, depth)
            a12, a13, a14, a15 = _four(places, like, i + 12, start, depth)
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = s10 = s11 = s12 = s13 = s14 = s15 = zero
            for k in range(depth):
                o, y = base[k], row[k] - base[k]
                s0, s1, s2, s3 = s0 + (a0[k] - o) * y, s1 + (a1[k] - o) * y, s2 + (a2[k] - o) * y, s3 + (a3[k] - o) * y
                s4, s5, s6, s7 = s4 + (a4[k] - o) * y, s5 + (a5[k] - o) * y, s6 + (a6[k] - o) * y, s7 + (a7[k] - o) * y
                s8, s9, s10, s11 = s8 + (a8[k] - o) * y, s9 + (a9[k] - o) * y, s10 + (a10[k] - o) * y, s11 + (a11[k] - o) * y
                s12, s13, s14, s15 = s12 + (a12[k] - o) * y, s13 + (a13[k] - o) * y, s14 + (a14[k] - o) * y, s15 + (a15[k] - o) * y
            sums = (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15)
            for p in range(min(16, n - i)):
                out[i + p, n - 1] += sums[p]


@kernel()
def _four(places, like, i, start, c):
    """The values start..start + c of the rows i to i + 3; of the last row in place of rows that are not there."""
    last = places.shape[0] - 1
    first, second = view(places[min(i, last)], like, start, c), view(places[min(i + 1, last)], like, start, c)
    return first, second, view(places[min(i + 2, last)], like, start, c), view(places[min(i + 3, last)], like, start, c)
