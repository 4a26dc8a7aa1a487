"""Options as part of a task: pairs that can be hashed and written as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Options = tuple[tuple[str, Any], ...]
"""The options of a name as sorted pairs, lists as tuples; `dict(options)` are the arguments."""


def frozen(options: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Options:
    """Options from a mapping, or from pairs as JSON has them.

    Example:
        >>> frozen({"sizes": [3, 4], "a": 1})
        (('a', 1), ('sizes', (3, 4)))
        >>> frozen([["a", 1]])
        (('a', 1),)
    """
    return tuple(sorted((key, _tuples(value)) for key, value in dict(options).items()))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value
