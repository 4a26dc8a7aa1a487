"""Parameters of rules and attacks as data: declared once, validated by one function, one sentence per mistake."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import Any, ClassVar

from flwr_byzantine.errors import InvalidParameter

_MISSING = dataclasses.MISSING


@dataclasses.dataclass(frozen=True)
class Constraint:
    """What values a parameter may take; `either` is another constraint that it may meet instead."""

    kind: type
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[Any, ...] = ()
    optional: bool = False
    either: Constraint | None = None

    def accepts(self, value: Any) -> bool:
        """Whether `value` is of the right kind and within the range."""
        return self._accepts(value) or (self.either is not None and self.either.accepts(value))

    def _accepts(self, value: Any) -> bool:
        if value is None:
            return self.optional
        if self.choices:
            return type(value) is self.kind and value in self.choices
        return self._is_kind(value) and self._in_range(value)

    def _is_kind(self, value: Any) -> bool:
        if self.kind is int:
            return isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if self.kind is float:
            return isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)
        return isinstance(value, self.kind)

    def _in_range(self, value: Any) -> bool:
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def __str__(self) -> str:
        return self._text() if self.either is None else f"{self._text()} or {self.either}"

    def _text(self) -> str:
        noun = {int: "an integer", float: "a number", bool: "True or False", str: "a string"}.get(
            self.kind, _with_article(self.kind.__name__)
        )
        if self.choices:
            one_of = "one of " if len(self.choices) > 1 else ""
            return one_of + ", ".join(map(repr, self.choices)) + (" or None" if self.optional else "")
        bounds = [
            f"{sign} {bound:g}" for sign, bound in ((">=", self.ge), (">", self.gt), ("<=", self.le), ("<", self.lt)) if bound is not None
        ]
        return " ".join([noun, " and ".join(bounds)]).strip() + (" or None" if self.optional else "")


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"


def param(
    default: Any = _MISSING,
    *,
    kind: type = int,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[Any] = (),
    optional: bool = False,
) -> Any:
    """Declare a dataclass field with the values it may take."""
    constraint = Constraint(kind, ge, gt, le, lt, tuple(choices), optional)
    return dataclasses.field(default=default, metadata={"constraint": constraint})


def check(owner: str, name: str, value: Any, constraint: Constraint) -> None:
    """Raise `InvalidParameter` unless `value` meets `constraint`."""
    if not constraint.accepts(value):
        raise InvalidParameter(f"{owner}: {name} must be {constraint}, got {value!r}")


class Declared:
    """Mixin for frozen dataclasses whose fields were made by `param`: validates them on creation."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]  # every subclass is one, so that `fields` takes it

    def __post_init__(self) -> None:
        """Check each declared field and store integers and floats as plain Python numbers."""
        for field in dataclasses.fields(self):
            constraint = field.metadata.get("constraint")
            if constraint is None:
                continue
            value = getattr(self, field.name)
            check(type(self).__name__, field.name, value, constraint)
            if value is not None and constraint.kind in (int, float):
                object.__setattr__(self, field.name, constraint.kind(value))
