"""What the loop of Flower's is that has called us: strategies are not told how many rounds there will be, nor on which Grid.

The last of the three modules that use Flower's inside: names of functions and of their variables; see `flower.compat`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any


def planned_rounds() -> int | None:
    """How many rounds the loop of Flower's runs that has called this, however indirectly; None where there is none.

    Loops are a Strategy's `start`, a legacy Server's `fit` and a legacy workflow's. To be called before there are replies: looking
    at a loop's variables keeps them for a while.

    Example:
        >>> planned_rounds() is None
        True
    """
    for owner, names in _loops():
        if isinstance(names.get("num_rounds"), int) and (hasattr(owner, "aggregate_train") or hasattr(owner, "fit_round")):
            return int(names["num_rounds"])
        if hasattr(owner, "fit_workflow"):
            return int(names["context"].config.num_rounds)
    return None


def grid_of_loop() -> Any:
    """The Grid of the Strategy whose `start` has called this, however indirectly; None where there is none.

    Example:
        >>> grid_of_loop() is None
        True
    """
    return next((names["grid"] for owner, names in _loops() if hasattr(owner, "aggregate_train") and "grid" in names), None)


def aggregates_securely() -> bool:
    """Whether a legacy workflow that has called this, however indirectly, is one of secure aggregation.

    Example:
        >>> aggregates_securely()
        False
    """
    workflows = (getattr(owner, "fit_workflow", owner) for owner, _ in _loops())
    return any(base.__name__ == "SecAggPlusWorkflow" for workflow in workflows for base in type(workflow).__mro__)


def _loops() -> Iterator[tuple[Any, dict[str, Any]]]:
    """The innermost first, of the functions that have called this and may be a loop over rounds: their `self`, and their variables."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("start", "fit", "__call__") and frame.f_code.co_varnames[:1] == ("self",):
            yield frame.f_locals["self"], frame.f_locals
        frame = frame.f_back
