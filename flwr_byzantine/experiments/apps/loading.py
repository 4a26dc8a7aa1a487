"""Objects of a project by their names, imported from its folder."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from flwr_byzantine.declare.names import did_you_mean
from flwr_byzantine.declare.own import in_a_line
from flwr_byzantine.errors import InvalidParameter


def load(folder: str, name: str, what: str) -> Any:
    """What a project calls "module:name".

    The folder is put first on the path of this process; the modules of another project before it are forgotten, so that both may
    have a `task.py`.

    Args:
        folder: of the project.
        name: "module:name".
        what: it is, for the message.

    Raises:
        InvalidParameter: it cannot be imported; the message says why.

    Example:
        >>> load(str(Path(__file__).parent), "json:dumps", "the encoder").__name__
        'dumps'
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise InvalidParameter(f"{what} must be named 'module:name', got {name!r}")
    _enter(folder)
    found = _module(folder, module, f"{what} {name!r}")
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = did_you_mean(attribute, vars(found))
            raise InvalidParameter(f"{what} {name!r}: {module} has no {attribute!r}; {near}name what is there")
        found = getattr(found, part)
    return found


def taken(function: Any, what: str) -> list[inspect.Parameter]:
    """The parameters of an ordinary function or class, without those that take any number of arguments; empty where nobody knows them.

    Raises:
        InvalidParameter: it is asynchronous.

    Example:
        >>> [one.name for one in taken(load, "it")]
        ['folder', 'name', 'what']
    """
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidParameter(f"{what} must be an ordinary function, got an async one; write def in place of async def")
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return []
    return [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def needed(one: inspect.Parameter) -> bool:
    """Whether it has no default."""
    return one.default is one.empty


def _module(folder: str, module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise InvalidParameter(f"{what}: there is no module {error.name!r} in {folder}; name one that is there") from None
        raise InvalidParameter(f"{what}: {module} needs {error.name!r}, which is not installed here; install it") from None
    except (Exception, SystemExit) as error:
        raise InvalidParameter(f"{what}: importing {module} failed: {in_a_line(error)}") from None


def _enter(folder: str) -> None:
    """Put the folder on the path in place of another project's, whose modules go."""
    if sys.path[0] == folder:
        return
    others = {path for path in _entered if path != folder}
    for name in [name for name, module in dict(sys.modules).items() if others & set(map(str, Path(_file(module)).parents))]:
        del sys.modules[name]
    sys.path[:] = [folder, *(path for path in sys.path if path != folder and path not in others)]
    _entered[:] = [folder]
    importlib.invalidate_caches()


def _file(module: Any) -> str:
    return str(getattr(module, "__file__", None) or "")


_entered: list[str] = []  # the folder of a project that this process has put on its path, where it has
