"""Composition: rules applied in order."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.families import PreAggregation


@dataclass(frozen=True)
class Chain(Rule):
    """Rules applied in order: pre-aggregations, then one aggregation. Made by `chain`.

    It withstands one number f of Byzantine rows, so that all parts have the same; one whose f is 0 unless said otherwise
    (`Median`, whose result does not depend on it) takes the others'. Robust if every part is.
    """

    parts: tuple[Rule, ...] = ()
    reference: ClassVar[str] = "the references of its parts"

    def __post_init__(self) -> None:
        """Only the last part may reduce the rows to one, and all have one f."""
        if not self.parts or not all(isinstance(part, Rule) for part in self.parts):
            raise InvalidParameter(f"chain needs rules, e.g. chain(NNM(f=2), Krum(f=2)), got {self.parts!r}")
        for part in self.parts[:-1]:
            if part.rows(1 << 20) == 1:
                raise InvalidParameter(f"chain: {part} aggregates to one row, so nothing can follow it; put it last")
        self._check_detectors()
        if self.parts[-1].rows(1 << 20) != 1:
            raise InvalidParameter(f"chain: {self.parts[-1]} only pre-aggregates; end with an aggregation rule")
        object.__setattr__(self, "f", max(part.f for part in self.parts))
        object.__setattr__(self, "parts", self._of_one_f())
        object.__setattr__(self, "robust", all(part.robust for part in self.parts))

    def _check_detectors(self) -> None:
        """They judge senders, and so come before what mixes their rows; each has one memory."""
        detects = [stage.detects for part in self.parts for stage in part.stages()]
        names = [type(stage).__name__ for part in self.parts for stage in part.stages() if stage.detects]
        if detects != sorted(detects, reverse=True):
            raise InvalidParameter(f"chain: {names[-1]} judges each sender's own row; put detectors before everything else")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InvalidParameter(f"chain: {twice} is there twice; one detector of a kind is all that a chain can have")

    def _of_one_f(self) -> tuple[Rule, ...]:
        """The parts, those of parts that are chains themselves among them, for the f of all."""
        parts = [inner for part in self.parts for inner in (part.parts if isinstance(part, Chain) else (part,))]
        if any(part.f not in (self.f, _default_f(part)) for part in parts):
            raise InvalidParameter(f"chain: all parts must have the same f, got {' + '.join(map(str, parts))}: give each f={self.f}")
        return tuple(part.with_f(self.f) for part in parts)

    def stages(self) -> tuple[Rule, ...]:
        """All parts' stages in order."""
        return tuple(stage for part in self.parts for stage in part.stages())

    def min_n(self) -> int:
        """Smallest n at which every part gets as many rows as it needs."""
        n = 1
        while not self._enough(n):
            n += 1
        return n

    def _enough(self, n: int) -> bool:
        for part in self.parts:
            if n < part.min_n():
                return False
            n = part.rows(n)
        return True

    def kappa(self, n: int) -> float | None:
        """κ of the last part, carried through the parts before it where a bound is known; none unless all are robust."""
        if not self._enough(n) or not (self.robust or self.f == 0):
            return None
        sizes = [n]
        for part in self.parts[:-1]:
            sizes.append(part.rows(sizes[-1]))
        value = self.parts[-1].kappa(sizes[-1])
        for part, size in zip(reversed(self.parts[:-1]), reversed(sizes[:-1]), strict=True):
            value = part.compose_kappa(size, value) if isinstance(part, PreAggregation) and value is not None else None
        return value

    def with_f(self, f: int) -> Chain:
        """Every part for another f."""
        return Chain(tuple(part.with_f(f) for part in self.parts))

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))


def _default_f(part: Rule) -> object:
    """The f of a rule that was given none: 0, or nothing where it must be given."""
    return {item.name: item.default for item in fields(part)}.get("f", 0)


def chain(*rules: Rule) -> Rule:
    """Compose rules: each part works on the rows the part before it returns.

    Args:
        rules: pre-aggregations, then one aggregation rule.

    Raises:
        InvalidParameter: an aggregation before the end, or none at the end; parts made for different f.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import rules
        >>> rule = rules.chain(rules.NNM(f=1), rules.TrimmedMean(f=1))
        >>> rule(np.array([[1.0], [1.0], [1.0], [1.0], [99.0]])).tolist()
        [1.0]
    """
    alone = len(rules) == 1 and isinstance(rules[0], Rule) and not isinstance(rules[0], PreAggregation)
    return rules[0] if alone else Chain(rules)
