"""Classes and options by name: one sentence for a name that is none."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from flwr_byzantine.errors import InvalidParameter

T = TypeVar("T")


def plain(name: str) -> str:
    """A name without case, hyphens, underscores and spaces.

    Example:
        >>> plain("Multi-Krum")
        'multikrum'
    """
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def by_name(what: str, name: str, classes: Iterable[type[T]]) -> type[T]:
    """The class called `name`.

    Args:
        what: what the classes are, for the message, e.g. "rule".
        name: in any case, with or without hyphens and underscores.
        classes: to choose from.

    Raises:
        InvalidParameter: there is none; the message names the nearest and lists all.

    Example:
        >>> by_name("number", "FLOAT", [int, float])
        <class 'float'>
    """
    known = {plain(cls.__name__): cls for cls in classes}
    found = known.get(plain(name)) if isinstance(name, str) else None
    if found is None:
        raise unknown_name(what, name, [cls.__name__ for cls in known.values()])
    return found


def unknown_name(what: str, name: str, known: Iterable[str], where: str = "") -> InvalidParameter:
    """The error for a name that is not known, with the nearest one that is, and all there are.

    Args:
        what: what is named, e.g. "rule".
        name: as it was given.
        known: the names there are.
        where: what the sentence begins with, e.g. "sweep.toml: ".

    Example:
        >>> str(unknown_name("key", "lrr", ["seed", "lr"]))
        "unknown key 'lrr'; did you mean 'lr'? choose one of: lr, seed"
    """
    choices = sorted(known)
    return InvalidParameter(f"{where}unknown {what} {name!r}; {did_you_mean(name, choices)}choose one of: {', '.join(choices)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the nearest of the known names, and a space after it; empty where none is near.

    Example:
        >>> did_you_mean("lrr", ["seed", "lr"])
        "did you mean 'lr'? "
    """
    spelled = {plain(choice): choice for choice in known}
    near = difflib.get_close_matches(plain(str(name)), spelled, n=1)
    return f"did you mean {spelled[near[0]]!r}? " if near else ""


def check_options(owner: str, options: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise `InvalidParameter` for the first option of `owner` that is not known."""
    for option in options:
        if not known:
            raise InvalidParameter(f"{owner!r} has no options, got {option!r}")
        if option not in known:
            raise unknown_name(f"option of {owner!r}", option, known)


def construct(cls: type[T], options: Mapping[str, Any]) -> T:
    """`cls(**options)`, where also a missing or unsuitable argument is an `InvalidParameter`."""
    try:
        return cls(**options)
    except TypeError as error:
        raise InvalidParameter(f"{cls.__name__} cannot have the options {dict(options)}: {error}") from None
