"""`Ordered`: arrays whose arithmetic has the same bits on every machine, since each sum is made in one order.

IEEE 754 fixes every bit of an addition, a multiplication, a division and a square root, and no bit of a sum of many numbers, which
depends on their order: on the width of vector registers, on how a BLAS cuts its blocks, on fused multiply-adds. What an `Ordered` array
makes of itself by NumPy is `Ordered` again, its sums and products are made here, and functions that say nothing of their order, such
as those of LAPACK, or of their rounding, such as exponentials, raise `NotReproducible`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import NotReproducible

STRIP = 1 << 15  # values of a product made at a time: they stay in the cache
SWEEPS = 30  # of Jacobi's method, at most; six or seven do
# ufuncs whose every result IEEE 754, or counting, fixes; those whose reductions have no order; functions made of these, or that move values
ROUNDED = """
add subtract multiply divide true_divide negative positive absolute fabs sqrt square reciprocal sign rint floor ceil trunc maximum
minimum fmax fmin clip isfinite isnan isinf signbit copysign ldexp frexp nextafter conjugate greater greater_equal less less_equal
equal not_equal logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor invert
"""
LARGEST = "maximum minimum fmax fmin logical_and logical_or bitwise_and bitwise_or"
MOVED = """
all allclose any argmax argmin argwhere array_equal array_split atleast_1d atleast_2d bincount block broadcast_arrays broadcast_to clip
column_stack concatenate copy copyto count_nonzero cumsum delete diag diagonal diff empty_like expand_dims fill_diagonal flatnonzero
flip full_like hsplit hstack insert isclose isin ix_ lexsort max mean median min moveaxis nan_to_num ndim nonzero ones_like outer
partition percentile pad put put_along_axis quantile ravel repeat reshape resize roll rollaxis rot90 round searchsorted shape size sort
split squeeze stack std sum swapaxes take take_along_axis tile transpose tril tril_indices_from triu triu_indices_from unique vsplit
vstack var where zeros_like amax amin may_share_memory shares_memory result_type can_cast min_scalar_type
"""
ALLOWED = {name: frozenset(text.split()) for name, text in (("rounded", ROUNDED), ("largest", LARGEST), ("moved", MOVED))}


class Ordered(np.ndarray[Any, Any]):
    """An array whose sums, products, norms and eigenvectors are made in one order.

    Example:
        >>> ordered(np.array([[3.0, 4.0]])) @ np.array([1.0, 1.0])
        Ordered([7.])
        >>> np.exp(ordered(np.ones(2)))
        Traceback (most recent call last):
        ...
        flwr_byzantine.errors.NotReproducible: reproducible=True: the bits of numpy.exp depend on the machine; write it by sums, products, \
divisions and square roots, or leave reproducible=True out
    """

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """A ufunc of such arrays, by what IEEE 754 fixes alone."""
        given, out = [plain(value) for value in inputs], options.pop("out", None)
        if ufunc is np.matmul and method == "__call__":
            found = product(*given)
        elif ufunc is np.add and method == "reduce":
            found = total(given[0], options.get("axis", 0), bool(options.get("keepdims", False)))
        elif _fixed(ufunc, method, given):
            found = getattr(ufunc, method)(*given, **options)
        else:
            raise _refusal(ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}")
        if out is None:
            return _ordered(found)
        np.copyto(plain(out[0]), found, casting="unsafe")
        return out[0]

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """A function of such arrays: ours, or NumPy's where it is made of ufuncs."""
        if func in OURS:
            return _ordered(OURS[func](*map(plain, args), **kwargs))
        if func.__name__ not in ALLOWED["moved"]:
            raise _refusal(f"{func.__module__.removeprefix('numpy.')}.{func.__name__}".removeprefix("numpy."))
        return _ordered(super().__array_function__(func, types, args, kwargs))

    def dot(self, other: Any, out: Any = None) -> Any:
        """The product, as `@` makes it."""
        return self @ other

    def argsort(self, axis: Any = -1, kind: Any = None, order: Any = None, **options: Any) -> Any:
        """Stable, whatever is asked for: how an unstable sort puts equal values depends on the processor."""
        return _ordered(np.argsort(plain(self), axis=axis, kind="stable"))


def ordered(values: Array) -> Array:
    """The same values, as a view, whose arithmetic is ordered from here on."""
    return np.asarray(values).view(Ordered)


def plain(values: Any) -> Any:
    """An ordered array as an ordinary one; anything else as it is."""
    return values.view(np.ndarray) if isinstance(values, Ordered) else values


def _ordered(found: Any) -> Any:
    if isinstance(found, tuple):
        parts = [_ordered(part) for part in found]
        return type(found)(*parts) if hasattr(found, "_fields") else tuple(parts)
    if isinstance(found, list):
        return [_ordered(part) for part in found]
    return found.view(Ordered) if isinstance(found, np.ndarray) and found.ndim else found


def _refusal(name: str) -> NotReproducible:
    advice = "write it by sums, products, divisions and square roots, or leave reproducible=True out"
    return NotReproducible(f"reproducible=True: the bits of numpy.{name} depend on the machine; {advice}")


def _fixed(ufunc: np.ufunc, method: str, given: list[Any]) -> bool:
    """Whether a ufunc of these has the same bits everywhere."""
    kinds = {np.asarray(value).dtype.kind for value in given}
    if "c" in kinds:
        return False
    if method == "reduce":
        return ufunc.__name__ in ALLOWED["largest"]
    if method == "accumulate":  # one after another, by what it is
        return ufunc.__name__ in ALLOWED["largest"] or ufunc is np.add
    return method in ("__call__", "outer") and (ufunc.__name__ in ALLOWED["rounded"] or not kinds & {"f"})


def total(values: Array, axis: Any = 0, keepdims: bool = False) -> Any:
    """Sums along an axis or all: the second half of the values is added to the first, again and again.

    The first half has a power of two of values, so that rounding errors grow with the logarithm of their number.

    Example:
        >>> float(total(np.array([1.0, 2.0, 3.0])))
        6.0
    """
    values = np.asarray(values)
    if values.dtype.kind != "f":
        return values.sum(axis=axis, keepdims=keepdims)
    axes = sorted(range(values.ndim) if axis is None else np.atleast_1d(axis) % values.ndim)
    found = _folded(np.moveaxis(values, axes, range(len(axes))).reshape(-1, *np.delete(values.shape, axes)))
    return np.expand_dims(found, axes) if keepdims else found[()]


def _folded(values: Array) -> Array:
    count, left = len(values), values.astype(np.float64)
    while count > 1:
        half = 1 << ((count - 1).bit_length() - 1)
        left[: count - half] += left[half:count]
        count = half
    return np.asarray(left[0] if count else np.zeros(values.shape[1:]))


def product(A: Any, B: Any) -> Any:
    """A @ B of matrices or vectors in float64: of matrices each entry adds one product after another, else as `total` adds.

    Example:
        >>> product(np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    A, B = (np.asarray(side, np.float64) for side in (A, B))
    if B.ndim == 1:
        return total(A * B, -1)
    if A.ndim == 1:
        return total(A[:, None] * B, 0)
    out, step = np.zeros((len(A), B.shape[1])), max(256, STRIP // max(len(A), 1))
    for start in range(0, B.shape[1], step):
        target, part = out[:, start : start + step], B[:, start : start + step]
        room = np.empty(target.shape)
        for k in range(len(B)):
            target += np.multiply(A[:, k, None], part[k], out=room)
    return out


def norm(values: Array, order: Any = None, axis: int | None = None) -> Any:
    """Euclidean lengths: of the rows along an axis, or of all values together."""
    if order is not None:
        raise _refusal("linalg.norm with ord=")
    return np.sqrt(total(np.square(np.asarray(values, np.float64)), axis))


def eigh(S: Array) -> tuple[Array, Array]:
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
    return A.diagonal()[order], V[:, order]


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


OURS: dict[Any, Callable[..., Any]] = {
    np.linalg.norm: norm,
    np.linalg.eigh: eigh,
    np.linalg.eigvalsh: lambda S: eigh(S)[0],
    np.dot: product,
    np.argsort: lambda values, axis=-1, kind=None: np.argsort(values, axis=axis, kind="stable"),
}
