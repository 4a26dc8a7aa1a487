"""The kinds of array that callers give: NumPy arrays, torch tensors, lists of either; and the way back to them. Loads no torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import MalformedUpdate

FLATTEN = "flatten each model: np.concatenate([np.ravel(array) for array in model]), of a state_dict its values()"
HOST = frozenset({"cpu"})  # kinds of device whose tensors are read where they lie, as NumPy arrays; on others torch does the work


@dataclass(frozen=True)
class ArrayKind:
    """The kind of array that a caller gave, to return results in: NumPy, or tensors of one dtype and device."""

    template: Any = None  # a torch tensor, or None for NumPy

    def restore(self, value: Array) -> Any:
        """`value` as the caller's kind, dtype and device."""
        if self.template is None:
            return value
        torch = sys.modules["torch"]
        tensor: Any = value if is_tensor(value) else torch.from_numpy(value)
        return tensor.to(dtype=self.template.dtype, device=self.template.device)

    def stack(self, rows: Sequence[Any]) -> Any:
        """(m, d) vectors below one another, as the caller's kind, dtype and device."""
        restored = [self.restore(row) for row in rows]
        return np.stack(restored) if self.template is None else sys.modules["torch"].stack(restored)


def as_rows(items: Sequence[Any]) -> list[Array]:
    """The items as NumPy vectors of one length and dtype."""
    rows = [as_numpy(item) for item in items]
    check_rows(rows, lambda row: row.dtype.kind in "fiu")
    if any(row.dtype != rows[0].dtype for row in rows):
        common = np.result_type(*rows)
        rows = [row.astype(common) for row in rows]
    return rows


def check_rows(rows: Sequence[Any], real: Callable[[Any], bool]) -> None:
    """Raise `MalformedUpdate` unless these arrays or tensors are vectors of one length, of real numbers."""
    first = tuple(rows[0].shape)
    for i, row in enumerate(rows):
        if not real(row):
            raise MalformedUpdate(f"updates must be real numbers (float or integer), got dtype {row.dtype} in row {i}")
        if row.ndim != 1:
            raise MalformedUpdate(f"updates must be vectors of one length, got shape {tuple(row.shape)} in row {i}; {FLATTEN}")
        if tuple(row.shape) != first:
            raise MalformedUpdate(f"updates must be vectors of one length, got shape {first} in row 0 and {tuple(row.shape)} in row {i}")


def items_of(X: Any) -> list[Any]:
    """The n updates of an (n, d) array or tensor, or of a list, one by one."""
    if isinstance(X, np.ndarray) or is_tensor(X):
        if X.ndim != 2:
            raise MalformedUpdate(f"updates must be an (n, d) array, got shape {tuple(X.shape)}; one update is X[None, :]")
        items = list(X)
    else:
        items = [_item(item, i) for i, item in enumerate(X)]
    if not items:
        raise MalformedUpdate("expected at least one update, got none")
    return items


def _item(item: Any, i: int) -> Any:
    """One of a list of updates: a dense tensor, or an array of no Python objects."""
    if is_tensor(item):
        return item if str(item.layout) == "torch.strided" else item.to_dense()
    try:
        array = np.asarray(item)
    except ValueError:  # arrays of several shapes
        array = np.zeros(0, object)
    if array.dtype == object:
        raise MalformedUpdate(f"updates must be vectors of numbers, got a {type(item).__name__} in row {i}; {FLATTEN}")
    return array


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor; torch is not loaded for that."""
    torch = sys.modules.get("torch")  # a tensor can only exist where torch was imported
    return torch is not None and isinstance(value, torch.Tensor)


def on_one_device(items: Sequence[Any]) -> bool:
    """Whether these are tensors that share a device on which torch does the work."""
    return all(map(is_tensor, items)) and items[0].device.type not in HOST and len({item.device for item in items}) == 1


def as_numpy(item: Any) -> Array:
    """A NumPy view of an array or a CPU tensor; a copy of a tensor that lies elsewhere."""
    if not is_tensor(item):
        return np.asarray(item)
    item = item.detach().cpu()
    if str(item.dtype) == "torch.bfloat16":  # NumPy has no bfloat16; float32 holds it exactly
        item = item.float()
    return np.asarray(item.numpy())
