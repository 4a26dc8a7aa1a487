"""Data of one's own: what "module:function" returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flwr_byzantine.declare.own import called
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks.sources.raw import Raw, raw_of


def read(dataset: str, options: Mapping[str, Any]) -> Raw:
    """The data set that the function returns, called with the options.

    It returns train_x, train_y, test_x, test_y, arrays or tensors, and where it likes a fifth: (rows,) whose each training
    example is.

    Raises:
        InvalidParameter: there is no such function, it raised, or it returned something else.
    """
    found = called(dataset, "dataset", **options)
    if not isinstance(found, (tuple, list)) or len(found) not in (4, 5):
        got = f"{len(found)} values" if isinstance(found, (tuple, list)) else type(found).__name__
        raise InvalidParameter(f"dataset {dataset!r}: it must return train_x, train_y, test_x, test_y (and groups, if any), got {got}")
    x, y, test_x, test_y, *groups = found
    return raw_of(dataset, (x, y), (test_x, test_y), groups=groups[0] if groups else None)
