"""Arrays of any kind in one form: flat rows of real numbers, and the same numbers in another dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array


def flat(values: Array) -> Array:
    """The values in one row; complex numbers as pairs, and any byte but 0 as true.

    Example:
        >>> flat(np.array([[1 + 2j]])).tolist()
        [1.0, 2.0]
    """
    row = np.ascontiguousarray(values).reshape(-1)
    if row.dtype.kind == "b":
        return np.asarray(row.view(np.uint8) != 0)
    return row.view(row.real.dtype) if row.dtype.kind == "c" else row


def rounded(values: Array, like: Array) -> Array:
    """The values in the dtype of `like`, clipped to its range."""
    if values.dtype == like.dtype:
        return values
    block = np.empty(values.shape, like.dtype)
    kernels.round_into(values, block)
    return block


def exactly(values: Array, dtype: np.dtype[Any]) -> Array | None:
    """The same numbers in another dtype, or None where it has not all of them: 3.0 is an int64, 2.5 and 2.0**63 are none.

    0 and 1 are booleans, and -0.0 is 0; but booleans and complex numbers are none of another kind.

    Example:
        >>> exactly(np.array([3.0, -0.0]), np.dtype(np.int64)).tolist(), exactly(np.array([2.5]), np.dtype(np.int64))
        ([3, 0], None)
    """
    if values.dtype.kind not in "iuf" or dtype.kind not in "biufc":
        return None
    if dtype.kind in "fc":
        with np.errstate(over="ignore"):
            floats = values.astype(dtype)
        return floats if _same(values, floats.real) else None
    made = _whole(values, dtype)
    return made if made is not None and (made == values).all() else None


def _same(values: Array, floats: Array) -> bool:
    """Whether floats are these values, which may be integers that no float64 holds."""
    if values.dtype.kind == "f":
        return bool(np.array_equal(values, floats, equal_nan=True))
    back = _whole(floats, values.dtype)
    return back is not None and bool((back == values).all())


def _whole(values: Array, dtype: np.dtype[Any]) -> Array | None:
    """The integer parts, or None where one is out of range."""
    if values.dtype.kind != "f":
        return values.astype(dtype)
    wide = values.astype(np.promote_types(values.dtype, np.float64))  # float16 has no 2**63 to compare with
    low, high = (0, 2) if dtype.kind == "b" else (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max // 2 + 1) * 2)
    return wide.astype(dtype) if ((wide >= low) & (wide < high)).all() else None
