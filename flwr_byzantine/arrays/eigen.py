"""Eigenvalues and eigenvectors by Jacobi's method, elementwise, so that their bits are the same on every machine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flwr_byzantine.arrays.typing import Array

SWEEPS = 30  # at most; six or seven do


class Eigen(NamedTuple):
    """Eigenvalues, ascending, and eigenvectors as columns."""

    eigenvalues: Array
    eigenvectors: Array


def eigh(S: Array) -> Eigen:
    """Eigenvalues of a symmetric matrix, ascending, and its eigenvectors as columns, by Jacobi's method.

    All n/2 rotations that touch no row twice are made at once, n - 1 times in a sweep (as rounds of a tournament), elementwise.

    Source: Brent, Luk, SIAM J. Sci. Stat. Comput. 1985.

    Example:
        >>> eigh(np.array([[2.0, 1.0], [1.0, 2.0]]))[0].round(12).tolist()
        [1.0, 3.0]
    """
    n = len(S)
    A, V = np.array(S, np.float64), np.eye(n)
    least = 2.0**-51 * float(np.abs(A).max(initial=0.0))
    for _ in range(SWEEPS):
        if np.abs(np.triu(A, 1)).max(initial=0.0) <= least:
            break
        for left, right in _tournament(n):
            _rotate(A, V, left, right, least)
    order = np.argsort(A.diagonal(), kind="stable")
    return Eigen(A.diagonal()[order], V[:, order])


def _tournament(n: int) -> list[tuple[list[int], list[int]]]:
    """Rounds in which each of n meets one other, until each has met all."""
    seats, rounds = list(range(n + n % 2)), []
    for _ in range(len(seats) - 1):
        pairs = [sorted(pair) for pair in zip(seats[: len(seats) // 2], reversed(seats), strict=False) if max(pair) < n]
        rounds.append(([pair[0] for pair in pairs], [pair[1] for pair in pairs]))
        seats = [seats[0], seats[-1], *seats[1:-1]]
    return rounds


def _rotate(A: Array, V: Array, p: list[int], q: list[int], least: float) -> None:
    """Rotate rows and columns p and q of A, and columns of V, so that A[p, q] is zero; what is `least` already counts as that."""
    off = np.where(np.abs(A[p, q]) > least, A[p, q], 0.0)
    theta = (A[q, q] - A[p, p]) / np.where(off == 0.0, 1.0, 2.0 * off)
    t = np.where(theta < 0, -1.0, 1.0) / (np.abs(theta) + np.sqrt(theta * theta + 1.0))
    t = np.where(off == 0.0, 0.0, t)
    c = 1.0 / np.sqrt(t * t + 1.0)
    s = t * c
    for matrix in (A.T, A, V.T):
        one, other = c[:, None] * matrix[p] - s[:, None] * matrix[q], s[:, None] * matrix[p] + c[:, None] * matrix[q]
        matrix[p], matrix[q] = one, other
    A[p, q] = A[q, p] = np.where(off == 0.0, A[p, q], 0.0)
