"""`Ordered`: arrays whose arithmetic has the same bits on every machine, since each sum is made in one order.

IEEE 754 fixes every bit of an addition, a multiplication, a division and a square root, and no bit of a sum of many numbers, which
depends on their order: on the width of vector registers, on how a BLAS cuts its blocks, on fused multiply-adds. What an `Ordered` array
makes of itself by NumPy is `Ordered` again, its sums and products are made here, and functions that say nothing of their order, such
as those of LAPACK, or of their rounding, such as exponentials, raise `NotReproducible`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from typing import Any

import numpy as np

from flwr_byzantine.arrays.eigen import Eigen, eigh
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import NotReproducible

STRIP = 1 << 15  # values of a product made at a time: they stay in the cache
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
partition percentile pad ptp put put_along_axis quantile ravel repeat reshape resize roll rollaxis rot90 round searchsorted shape size sort
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

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        """A ufunc of such arrays, by what IEEE 754 fixes alone."""
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        given, options = [plain(value) for value in inputs], {key: plain(value) for key, value in options.items()}
        if name in OURS_OF_UFUNCS:
            found = _made(name, OURS_OF_UFUNCS[name], given, options)
            if out is not None:
                np.copyto(plain(out[0]), found, casting="same_kind")
        elif _fixed(ufunc, method, given):
            into = {} if out is None else {"out": tuple(map(plain, out))}
            _check_filled(name, method, into, options)
            found = getattr(ufunc, method)(*given, **into, **options)
        else:
            raise _refusal(name)
        return _ordered(found) if out is None else _filled(found, out)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """A function of such arrays: ours, or NumPy's where it is made of ufuncs."""
        name = f"{func.__module__.removeprefix('numpy.')}.{func.__name__}".removeprefix("numpy.")
        if func in OURS:
            return _ordered(_made(name, OURS[func], args, kwargs))
        if func.__name__ not in ALLOWED["moved"]:
            raise _refusal(name)
        found = super().__array_function__(func, types, args, kwargs)
        return found if found is kwargs.get("out") else _ordered(found)

    def dot(self, other: Any, out: Any = None) -> Any:
        """The product, as `np.dot` makes it."""
        return np.dot(self, other) if out is None else np.dot(self, other, out=out)

    def argsort(self, axis: Any = -1, kind: Any = None, order: Any = None, **options: Any) -> Any:
        """Stable, whatever is asked for: how an unstable sort puts equal values depends on the processor."""
        return _ordered(argsort(plain(self), axis, kind, order))


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


def _made(name: str, function: Callable[..., Any], given: Any, options: Mapping[str, Any]) -> Any:
    """What a function of ours makes of these; an option that it does not have is refused, so that none is ignored."""
    if unknown := options.keys() - _parameters(function):
        option = f"numpy.{name} with {min(unknown)}="
        raise NotReproducible(f"reproducible=True: {option} has no fixed order here; do without it, or leave reproducible=True out")
    return function(*map(plain, given), **{key: plain(value) for key, value in options.items()})


@cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(signature(function).parameters)


def _check_filled(name: str, method: str, into: Any, options: Mapping[str, Any]) -> None:
    """Values outside a mask are those of `out`; without it they would be what the memory held."""
    if not into and method != "reduce" and options.get("where", True) is not True:
        raise NotReproducible(f"reproducible=True: numpy.{name} with where= leaves values unset; give out= too")


def _filled(found: Any, out: tuple[Any, ...]) -> Any:
    """What a ufunc returns that was given `out`: these, and what it made where one was left out."""
    made = found if isinstance(found, tuple) else (found,)
    filled = tuple(_ordered(one) if target is None else target for one, target in zip(made, out, strict=True))
    return filled if len(out) > 1 else filled[0]


def _real(values: Any) -> Array:
    made: Array = np.asarray(values)
    if made.dtype.kind == "c":
        raise _refusal("sum and numpy.matmul of complex numbers")
    return made


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


def total(values: Any, axis: Any = 0, keepdims: bool = False, dtype: Any = None, initial: Any = 0, where: Any = True) -> Any:
    """Sums along an axis or all: the second half of the values is added to the first, again and again.

    The first half has a power of two of values, so that rounding errors grow with the logarithm of their number. Options are those of
    `np.sum`: with `where`, values outside count as zero; `initial` is added at the end; sums are float64 unless `dtype` is given.

    Example:
        >>> float(total(np.array([1.0, 2.0, 3.0]), where=np.array([True, False, True])))
        4.0
    """
    values = _real(values) if dtype is None else _real(np.asarray(values).astype(dtype))
    if values.dtype.kind != "f":
        return values.sum(axis=axis, keepdims=keepdims, initial=initial or 0, where=where)
    if where is not True:
        values = np.where(np.broadcast_to(where, values.shape), values, 0.0)
    axes = sorted(range(values.ndim) if axis is None else np.atleast_1d(axis) % values.ndim)
    found = _folded(np.moveaxis(values, axes, range(len(axes))).reshape(-1, *np.delete(values.shape, axes)))
    found = (found + initial if initial else found).astype(dtype or np.float64, copy=False)
    return np.expand_dims(found, axes) if keepdims else found[()]


def _folded(values: Array) -> Array:
    count, left = len(values), values.astype(np.float64)
    while count > 1:
        half = 1 << ((count - 1).bit_length() - 1)
        left[: count - half] += left[half:count]
        count = half
    return np.asarray(left[0] if count else np.zeros(values.shape[1:]))


def product(A: Any, B: Any) -> Any:
    """A @ B in float64, of stacks of matrices too: of matrices each entry adds one product after another, else as `total` adds.

    Example:
        >>> product(np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    A, B = (_real(side).astype(np.float64, copy=False) for side in (A, B))
    if not (A.ndim and B.ndim and A.shape[-1] == B.shape[-2:][0]):
        raise ValueError(f"matmul: shapes {A.shape} and {B.shape} do not match")
    if B.ndim == 1:
        return total(A * B, -1)
    if A.ndim == 1:
        return total(A[:, None] * B, -2)
    shape = (*np.broadcast_shapes(A.shape[:-2], B.shape[:-2]), A.shape[-2], B.shape[-1])
    out, step = np.zeros(shape), max(256, STRIP // max(math.prod(shape[:-1]), 1))
    for start in range(0, B.shape[-1], step):
        target, part = out[..., start : start + step], B[..., start : start + step]
        room = np.empty(target.shape)
        for k in range(B.shape[-2]):
            target += np.multiply(A[..., k, None], part[..., k, None, :], out=room)
    return out


def dot(a: Any, b: Any) -> Any:
    """`np.dot`: a multiple where one is a number, else the product of vectors or matrices."""
    a, b = _real(a), _real(b)
    if a.ndim and b.ndim > 2:
        raise _refusal("dot of stacks of matrices, which @ multiplies,")
    return product(a, b) if a.ndim and b.ndim else a * b


def argsort(values: Any, axis: Any = -1, kind: Any = None, order: Any = None, stable: Any = None) -> Any:
    """`np.argsort`, which is stable here."""
    return np.argsort(values, axis=axis, kind="stable", order=order)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Euclidean lengths: of the rows along an axis, or of all values together."""
    if ord is not None:
        raise _refusal("linalg.norm with ord=")
    return np.sqrt(total(np.square(_real(x).astype(np.float64, copy=False)), axis, keepdims))


def _eigh(a: Any) -> Eigen:
    if np.ndim(a) != 2:
        raise _refusal("linalg.eigh of a stack of matrices")
    return eigh(_real(a))


OURS: dict[Any, Callable[..., Any]] = {
    np.linalg.norm: norm,
    np.linalg.eigh: _eigh,
    np.linalg.eigvalsh: lambda a: _eigh(a).eigenvalues,
    np.dot: dot,
    np.argsort: argsort,
}
OURS_OF_UFUNCS: dict[str, Callable[..., Any]] = {"matmul": product, "add.reduce": total}
