"""Options as part of a task: pairs that can be hashed and written as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flwr_byzantine.errors import InvalidParameter

Options = tuple[tuple[str, Any], ...]
"""The options of a name as sorted pairs, lists as tuples."""


def frozen(options: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Options:
    """Options from a mapping, or from pairs as JSON has them.

    Raises:
        InvalidParameter: an option is a table.

    Example:
        >>> frozen({"sizes": [3, 4], "a": 1})
        (('a', 1), ('sizes', (3, 4)))
        >>> frozen([["a", 1]])
        (('a', 1),)
    """
    return tuple(sorted((key, _tuples(key, value)) for key, value in dict(options).items()))


def thawed(options: Options) -> dict[str, Any]:
    """The options as they were given, with lists.

    Example:
        >>> thawed((("sizes", (3, 4)),))
        {'sizes': [3, 4]}
    """
    return {key: _lists(value) for key, value in options}


def _tuples(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        raise InvalidParameter(f"option {key} must be a value or a list, got the table {value!r}")
    return tuple(_tuples(key, item) for item in value) if isinstance(value, (list, tuple)) else value


def _lists(value: Any) -> Any:
    return list(map(_lists, value)) if isinstance(value, tuple) else value
