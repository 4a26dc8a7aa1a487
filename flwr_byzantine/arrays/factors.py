"""Matrices of low rank held as their factors: what can be asked of products BA without forming one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from flwr_byzantine.arrays.geometry import ROUGH, ROUNDED_OFF
from flwr_byzantine.arrays.parallel import slices
from flwr_byzantine.arrays.typing import DEPTH, Array

SINGLE = 512  # columns from which factors in float32 are multiplied in float32 at first: rounding averages out
STRIP = 1 << 20  # values of a strip of cores, and of product entries, made at a time


@dataclass(frozen=True)
class Factors:
    """The (p, q) matrix `scale * b @ a` of rank r at most, as an adapter (LoRA) has it; it is never formed.

    Any invertible R gives the same matrix from b R and R⁻¹ a, and nothing here tells these apart, to rounding.

    Attributes:
        b: (p, r).
        a: (r, q).
        scale: LoRA's α/r.

    Example:
        >>> Factors(np.array([[1.0], [2.0]]), np.array([[3.0, 4.0]]), 0.5).product().tolist()
        [[1.5, 2.0], [3.0, 4.0]]
    """

    b: Array
    a: Array
    scale: float = 1.0

    @property
    def rank(self) -> int:
        """Number r of columns of b: no less than the matrix's rank."""
        return len(self.a)

    @cached_property
    def tilt(self) -> float:
        """A power of two: b times and a divided by it are about of one length, so that no products of them leave float's range."""
        with np.errstate(divide="ignore", over="ignore"):
            b, a = (float(np.abs(side).max(initial=0.0)) for side in (self.b, self.a))
        return 2.0 ** float(np.rint((np.log2(a) - np.log2(b)) / 2)) if a > 0 and b > 0 else 1.0

    def times(self, factor: float) -> Factors:
        """`factor` times the matrix."""
        return Factors(self.b, self.a, self.scale * factor)

    def product(self) -> Array:
        """(p, q) float64 the matrix itself: for models that it is merged into."""
        return np.asarray(self.scale * (self.b.astype(np.float64) @ self.a.astype(np.float64)))

    def at(self, rows: Array, columns: Array) -> Array:
        """(c,) float64 entries of the matrix."""
        b, a = self.b.astype(np.float64), self.a.T.astype(np.float64)
        parts = slices(len(rows), max(1, STRIP // self.rank))
        return self.scale * np.concatenate([np.zeros(0), *(np.einsum("cr,cr->c", b[rows[part]], a[columns[part]]) for part in parts)])


def zero(p: int, q: int) -> Factors:
    """The zero matrix."""
    return Factors(np.zeros((p, 1)), np.zeros((1, q)))


def stacked(parts: Iterable[Factors]) -> Factors:
    """The sum of matrices: their factors side by side, exact, of the sum of their ranks.

    Source: stacking as in FLoRA, Wang et al., NeurIPS 2024.

    Example:
        >>> one = Factors(np.eye(2)[:, :1], np.eye(2)[:1])
        >>> stacked([one, one.times(2.0)]).product().tolist(), stacked([one, one]).rank
        ([[3.0, 0.0], [0.0, 0.0]], 2)
    """
    parts = list(parts)
    b = np.concatenate([part.scale * part.b.astype(np.float64) for part in parts], axis=1)
    return Factors(b, np.concatenate([part.a.astype(np.float64) for part in parts], axis=0))


def best(matrix: Factors, rank: int, spare: Array | None = None) -> tuple[Factors, float]:
    """The nearest matrix of a rank (Eckart-Young), and how far that is, as a share of the length (Frobenius norm).

    It costs a QR of either factor and an SVD of the small core that is left. The rows of the new a are orthonormal, and the columns of
    the new b orthogonal, longest first, so that the first k of each are the best of rank k. Where the matrix has a lower rank, columns
    of b are zero, and a's rows go on with directions of `spare`, so that training can use them.

    Args:
        matrix: any.
        rank: of the result, exactly; beyond min(p, q) rows and columns of zeros follow.
        spare: (k, q) directions that a may go on with.

    Example:
        >>> found, error = best(Factors(np.diag([4.0, 3.0]), np.eye(2)), rank=1)
        >>> abs(found.product()).round(6).tolist(), round(error, 6)
        ([[4.0, 0.0], [0.0, 0.0]], 0.6)
    """
    whole = stacked([matrix] if spare is None else [matrix, Factors(np.zeros((len(matrix.b), len(spare))), spare)])
    left, b = np.linalg.qr(whole.b)
    right, a = np.linalg.qr(whole.a.T)
    u, sizes, v = np.linalg.svd(b @ a.T)
    found, directions = left @ u[:, : len(sizes)] * sizes, (right @ v.T).T
    error = float(np.linalg.norm(sizes[rank:]) / (np.linalg.norm(sizes) or 1.0))
    return Factors(_filled(found[:, :rank], 1, rank), _filled(directions[:rank], 0, rank)), error


def _filled(side: Array, axis: int, rank: int) -> Array:
    """A factor with zeros up to the rank."""
    missing = [(0, rank - side.shape[axis] if k == axis else 0) for k in (0, 1)]
    return np.pad(side, missing)


def inner(matrices: Sequence[Factors], dtype: Any = np.float64) -> Array:
    """(n, n) float64 inner products of n matrices: tr((B_iᵀ B_j)(A_j A_iᵀ)) for each two, all from two products of stacked factors.

    Extra memory is two (Σr, Σr) matrices, and a few tiles.

    Args:
        matrices: of one shape, and any ranks from 1 on.
        dtype: float32 or float64, to multiply in; sums are float64 after each 1024 columns.

    Example:
        >>> inner([Factors(np.eye(2), np.eye(2)), Factors(np.ones((2, 1)), np.ones((1, 2)), 2.0)]).tolist()
        [[2.0, 4.0], [4.0, 16.0]]
    """
    crossed = _cross([(matrix.b.T, matrix.tilt) for matrix in matrices], dtype)
    crossed *= _cross([(matrix.a, 1 / matrix.tilt) for matrix in matrices], dtype)
    starts = np.cumsum([0, *(matrix.rank for matrix in matrices[:-1])])
    sums = np.add.reduceat(np.add.reduceat(crossed, starts, axis=1, dtype=np.float64), starts, axis=0)
    scales = np.array([matrix.scale for matrix in matrices])
    G = scales[:, None] * sums * scales
    return np.asarray(np.triu(G) + np.triu(G, 1).T)


def _cross(sides: Sequence[tuple[Array, float]], dtype: Any) -> Array:
    """(Σr, Σr) inner products of the rows of all sides, each times its number, in the dtype that they are multiplied in."""
    ends, width = np.cumsum([len(side) for side, _ in sides]).tolist(), sides[0][0].shape[1]
    total, room = np.zeros((ends[-1], ends[-1]), np.float64), np.empty((ends[-1], min(width, DEPTH)), dtype)
    for part in slices(width, DEPTH):
        tile = room[:, : part.stop - part.start]
        for end, (side, factor) in zip(ends, sides, strict=True):
            np.multiply(side[:, part], factor, out=tile[end - len(side) : end], casting="same_kind")
        total += tile @ tile.T
    return total.astype(dtype, copy=False)


def deltas_gram(matrices: Sequence[Factors], centre: Factors | None, exact: bool = True) -> Array:
    """(n, n) float64 inner products of `matrices - centre`, accurate however near the centre they lie.

    From `inner` where the differences are large enough beside what they are differences of; else from cores.

    Args:
        matrices: of one shape.
        centre: another, or one of them; None for zero.
        exact: multiply in float64; else in float32 where that will do for norms, and for distances beyond 2 % of these.
    """
    single = not exact and multiplies_in_float32(matrices)
    for dtype, share in [(np.float32, ROUGH)] * single + [(np.float64, ROUNDED_OFF)]:
        with np.errstate(over="ignore", invalid="ignore"):
            G, certain = _less_centre(inner([*matrices, *([] if centre is None else [centre])], dtype), centre is not None, share)
        if all(sure or matrix is centre for sure, matrix in zip(certain, matrices, strict=True)):
            return G
    return _core_gram(matrices, centre)


def multiplies_in_float32(matrices: Sequence[Factors]) -> bool:
    """Whether `deltas_gram` multiplies in float32 unless told otherwise."""
    return all(side.dtype == np.float32 and max(side.shape) >= SINGLE for matrix in matrices for side in (matrix.b, matrix.a))


def _less_centre(K: Array, centred: bool, share: float) -> tuple[Array, Array]:
    """The Gram matrix of all but the last less the last, and for which of them its norm is more than a rounding error."""
    if not centred:
        return K, np.ones(len(K), bool)
    G, k, square = K[:-1, :-1], K[:-1, -1], K[-1, -1]
    G = G - k[:, None] - k[None, :] + square
    return G, ~(np.diag(G) < share * (np.diag(K)[:-1] + square))


def _core_gram(matrices: Sequence[Factors], centre: Factors | None) -> Array:
    """As `deltas_gram`, from differences: of the matrices in an orthonormal basis of all factors, a strip of rows at a time."""
    total, n = np.zeros((len(matrices), len(matrices))), len(matrices)
    every = [*matrices, *([] if centre is None else [centre])]
    ends = np.cumsum([matrix.rank for matrix in every])[:-1]
    left = np.split(_reduced([matrix.scale * (matrix.tilt * matrix.b.astype(np.float64)) for matrix in every]), ends, axis=1)
    right = np.split(_reduced([matrix.a.T.astype(np.float64) / matrix.tilt for matrix in every]), ends, axis=1)
    for part in slices(len(left[0]), max(1, STRIP // (n * len(right[0])))):
        cores = [b[part] @ a.T for b, a in zip(left, right, strict=True)]
        block = np.array([core - cores[-1] if centre is not None else core for core in cores[:n]]).reshape(n, -1)
        total += block @ block.T
    return total


def _reduced(sides: Sequence[Array]) -> Array:
    """(k, Σr) columns with the inner products of these (p, r), in the basis of a QR where that has fewer rows."""
    whole = np.concatenate(sides, axis=1)
    return whole if len(whole) <= whole.shape[1] else np.asarray(np.linalg.qr(whole, mode="r"))


def sq_distance(one: Factors, other: Factors) -> float:
    """The squared distance of two matrices, from their difference."""
    return float(_core_gram([one], other)[0, 0])
