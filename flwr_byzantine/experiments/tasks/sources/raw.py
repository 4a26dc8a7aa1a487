"""`Raw`: a labelled data set as it is kept, and the checks that whatever was read is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flwr_byzantine.arrays.conversion import is_tensor
from flwr_byzantine.errors import InvalidParameter

if TYPE_CHECKING:
    import torch

EXAMPLES = "images (rows, channels, height, width) or (rows, height, width), floats or bytes, or integers (rows, length), tokens"


@dataclass(frozen=True)
class Raw:
    """Examples and labels as they are kept.

    Attributes:
        train_x, test_x: (rows, *shape): uint8 or float32 for images, int64 for tokens.
        train_y, test_y: (rows,) int64 labels from 0 on.
        classes: number of classes.
        vocabulary: number of different tokens; 0 for images.
        groups: (rows,) whose each training example is, for the natural divisions; None where nobody knows.
    """

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor
    classes: int
    vocabulary: int = 0
    groups: np.ndarray | None = None


def raw_of(name: str, train: tuple[Any, Any], test: tuple[Any, Any], classes: int = 0, groups: Any = None, vocabulary: int = 0) -> Raw:
    """A data set from arrays or tensors, checked.

    Args:
        name: of the data set, for messages.
        train: examples and labels of the clients.
        test: those that accuracy is measured on.
        classes: how many; 0 counts them.
        groups: (rows,) whose each training example is, or None.
        vocabulary: how many different tokens; 0 counts them.

    Raises:
        InvalidParameter: these are no examples of one shape with integer labels.

    Example:
        >>> x, y = np.zeros((6, 4, 4), np.uint8), [0, 1, 2, 0, 1, 2]
        >>> raw = raw_of("mine", (x, y), (x, y))
        >>> tuple(raw.train_x.shape), raw.classes
        ((6, 1, 4, 4), 3)
    """
    (train_x, train_y), (test_x, test_y) = (_part(name, which, *part) for which, part in (("train", train), ("test", test)))
    if train_x.shape[1:] != test_x.shape[1:] or train_x.dtype != test_x.dtype:
        both = " and ".join(f"{x.dtype} of shape {tuple(x.shape[1:])}" for x in (train_x, test_x))
        raise InvalidParameter(f"dataset {name!r}: examples of train and test must be alike, got {both}")
    found = int(max(train_y.max(), test_y.max())) + 1
    if found < 2 or (classes and found > classes):
        raise InvalidParameter(f"dataset {name!r}: labels must be 0 .. {classes - 1 if classes else 'classes - 1'}, got 0 .. {found - 1}")
    tokens = vocabulary or int(max(train_x.max(), test_x.max())) + 1 if train_x.dtype == np.int64 else 0
    x, y, other_x, other_y = map(_tensor, (train_x, train_y, test_x, test_y))
    return Raw(x, y, other_x, other_y, classes or found, tokens, _groups(name, groups, len(train_y)))


def _part(name: str, which: str, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Examples and labels of one part as arrays of the kinds that are kept."""
    x, y = (_array(name, which, values) for values in (x, y))
    if y.ndim != 1 or y.dtype.kind not in "iu" or len(y) != len(x) or not len(y) or y.min() < 0:
        negative = f", the least of them {y.min()}" if y.dtype.kind == "i" and y.size and y.min() < 0 else ""
        wanted = f"an example at least and an integer label >= 0 for each, got {len(x)} examples"
        raise InvalidParameter(f"dataset {name!r}: {which} needs {wanted} and labels of {y.dtype} and shape {y.shape}{negative}")
    return _kept(name, which, x), y.astype(np.int64)


def _array(name: str, which: str, values: Any) -> np.ndarray:
    """An array from whatever can be one; a tensor from wherever it is."""
    try:
        return np.asarray(values.detach().cpu() if is_tensor(values) else values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidParameter(f"dataset {name!r}: {which} needs arrays or tensors, got {type(values).__name__} ({error})") from None


def _kept(name: str, which: str, x: np.ndarray) -> np.ndarray:
    """Images as (rows, channels, height, width), bytes or float32; tokens and feature rows as (rows, length)."""
    kind = x.dtype.kind
    if x.ndim not in (2, 3, 4) or kind not in "fiu" or (x.dtype != np.uint8 and kind in "iu" and x.ndim != 2) or not x[0].size:
        raise InvalidParameter(f"dataset {name!r}: {which} examples must be {EXAMPLES}, got {x.dtype} of shape {x.shape}")
    if (kind == "f" and not np.abs(x).max() <= np.finfo(np.float32).max) or (kind == "i" and x.min() < 0):
        wanted = "finite as float32, and tokens >= 0"
        raise InvalidParameter(f"dataset {name!r}: {which} examples must be {wanted}; {x.dtype} of shape {x.shape} are not")
    x = x[:, None] if x.ndim == 3 else x
    return np.ascontiguousarray(x if x.dtype == np.uint8 else x.astype(np.float32 if kind == "f" else np.int64))


def _tensor(array: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _groups(name: str, groups: Any, rows: int) -> np.ndarray | None:
    if groups is None:
        return None
    try:
        found = np.unique(np.asarray(groups), return_inverse=True)[1]
    except (TypeError, ValueError) as error:
        raise InvalidParameter(f"dataset {name!r}: groups must be {rows} names or numbers, none of them missing ({error})") from None
    if found.shape != (rows,):
        raise InvalidParameter(f"dataset {name!r}: groups must be a vector of {rows}, one for each training example, got {found.shape}")
    return found
