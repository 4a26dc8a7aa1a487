"""`wrap`: `Updates` from what a caller gives: an array, a tensor, or a list of either."""

from __future__ import annotations

from typing import Any

from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.conversion import ArrayKind, as_rows, is_tensor, items_of, on_one_device
from flwr_byzantine.arrays.reproducible import Reproducible
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.errors import NotReproducible


def wrap(X: Any, reproducible: bool = False) -> tuple[Updates, ArrayKind]:
    """View `X`, an (n, d) array or tensor or a list of n vectors, as one block; with the way back to its kind.

    Tensors of one device other than the CPU stay there: see `device.TensorUpdates`.

    Args:
        X: the rows.
        reproducible: whether rules are to compute the same bits of them on every machine: see `reproducible.Reproducible`.

    Raises:
        NotReproducible: the bits of what a GPU computes are its own.
        MalformedUpdate: no rows, or rows that differ in length or are not numbers.

    Example:
        >>> import numpy as np
        >>> updates, _ = wrap(np.eye(3))
        >>> updates.gram().tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    items = items_of(X)
    kind = ArrayKind(items[0] if is_tensor(items[0]) else None)
    if on_one_device(items):
        if reproducible:
            raise NotReproducible(f"reproducible=True needs tensors on the CPU, got {items[0].device}: pass X.cpu()")
        from flwr_byzantine.arrays.device import TensorUpdates  # loads torch, which the caller has loaded

        return TensorUpdates(items), kind
    return (Reproducible if reproducible else Updates)([Block(as_rows(items))]), kind
