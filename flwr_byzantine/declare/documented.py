"""What rules and attacks say of themselves, as data: the paragraphs of their documentation, and each parameter with its values."""

from __future__ import annotations

import dataclasses
import inspect
import re
from dataclasses import dataclass
from typing import Any

SECTIONS = ("Args", "Raises", "Source", "Example")


@dataclass(frozen=True)
class Documentation:
    """The parts of a class's docstring.

    Attributes:
        paragraphs: what it does, each on one line, the first being the summary.
        args: the meaning of each parameter by its name.
        source: the publications.
        example: Python's session.
    """

    paragraphs: tuple[str, ...]
    args: dict[str, str]
    source: str
    example: str


def documentation(cls: type) -> Documentation:
    """The docstring of a class in its parts.

    Example:
        >>> documentation(Documentation).paragraphs[0]
        "The parts of a class's docstring."
    """
    text = inspect.cleandoc(cls.__doc__ or "")
    first, *found = re.split(rf"^({'|'.join(SECTIONS)}):", text, flags=re.MULTILINE)
    parts = dict(zip(found[::2], found[1::2], strict=True))
    source = _line(parts.get("Source", "")).replace(" κ: see `kappa`.", "")
    return Documentation(paragraphs(first), _args(parts.get("Args", "")), source, inspect.cleandoc(parts.get("Example", "")).strip())


def paragraphs(text: str) -> tuple[str, ...]:
    """Each paragraph of a text on one line."""
    return tuple(_line(part) for part in re.split(r"\n\s*\n", inspect.cleandoc(text)) if part.strip())


def _line(text: str) -> str:
    return " ".join(text.split())


def _args(text: str) -> dict[str, str]:
    found = re.split(r"^    (\w+): ", text, flags=re.MULTILINE)[1:]
    return {name: _line(meaning) for name, meaning in zip(found[::2], found[1::2], strict=True)}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a class.

    Attributes:
        name: as an argument.
        required: whether it must be given.
        default: where it is not required; None where there is none.
        values: what it may be, in words.
        meaning: in words.
    """

    name: str
    required: bool
    default: Any
    values: str
    meaning: str

    def __str__(self) -> str:
        return self.name if self.required else f"{self.name}={self.default!r}"


def parameters(cls: Any) -> list[Parameter]:
    """The parameters of a dataclass in the order of its arguments.

    Example:
        >>> parameters(Parameter)[0].name
        'name'
    """
    meanings = documentation(cls).args
    return [_parameter(item, meanings.get(item.name, "")) for item in dataclasses.fields(cls) if item.init]


def _parameter(item: dataclasses.Field[Any], meaning: str) -> Parameter:
    made = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
    required = made is dataclasses.MISSING
    values = str(item.metadata.get("constraint", item.type))
    return Parameter(item.name, required, None if required else made, values, meaning)


def signature(cls: Any) -> str:
    """The class with its arguments as they are written.

    Example:
        >>> signature(Parameter)
        'Parameter(name, required, default, values, meaning)'
    """
    return f"{cls.__name__}({', '.join(map(str, parameters(cls)))})"
