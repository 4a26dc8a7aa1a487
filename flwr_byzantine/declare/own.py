"""Functions of one's own by name: "module:function", looked for in the current folder first."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from flwr_byzantine.declare.names import did_you_mean
from flwr_byzantine.errors import InvalidParameter

OWN = re.compile(r"\w+(\.\w+)*:\w+")  # "module:function"


def resolve(name: str, what: str) -> Callable[..., Any]:
    """The function, or class, that "module:function" names.

    Every process finds it by itself, so that workers of a sweep do, and Ray's.

    Args:
        name: a module that can be imported from the current folder or from the path, a colon, and a name in it.
        what: what is named so, for messages, e.g. "dataset".

    Raises:
        InvalidParameter: the name has another form, the module cannot be imported, or it has no such function.

    Example:
        >>> resolve("math:sqrt", "dataset")(9.0)
        3.0
    """
    if not isinstance(name, str) or not OWN.fullmatch(name):
        raise InvalidParameter(f"{what} must be 'module:function', got {name!r}")
    module, function = name.split(":")
    found = getattr(_module(module, name, what), function, None)
    if found is None:
        known = [key for key, value in vars(sys.modules[module]).items() if callable(value)]
        raise InvalidParameter(f"{what} {name!r}: {module} has no {function!r}; {did_you_mean(function, known)}define it there")
    if not callable(found):
        raise InvalidParameter(f"{what} {name!r}: {function} must be a function, got {type(found).__name__}")
    return found  # type: ignore[no-any-return]  # whatever the module calls so


def in_a_line(error: BaseException) -> str:
    r"""The error's kind and message in one line, whatever it says.

    Example:
        >>> in_a_line(ValueError("no\n such   data"))
        'ValueError: no such data'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def called(name: str, what: str, *args: Any, **options: Any) -> Any:
    """What the function that "module:function" names returns; whatever it raises is one sentence.

    Example:
        >>> called("math:sqrt", "dataset", 9.0)
        3.0
    """
    function = resolve(name, what)
    try:
        return function(*args, **options)
    except (Exception, SystemExit) as error:
        raise InvalidParameter(f"{what} {name!r} raised {in_a_line(error)}") from error


def _module(module: str, name: str, what: str) -> Any:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        problem = f"{what} {name!r}: cannot import {module!r} ({in_a_line(error)})"
        raise InvalidParameter(f"{problem}; run where {module.partition('.')[0]}.py is, or put its folder on PYTHONPATH") from None
