"""From a strategy's arguments to the rule of a round: f as a count or a share, and each rule's own parameters; both APIs share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Literal

from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.families import PreAggregation
from flwr_byzantine.rules.parsing import AUTO, faults, largest, parse

AnyRule = Rule | Callable[[int], Rule] | str
Faults = int | float | Literal["auto"] | None  # f: a count, a share of the replies that arrive, "auto", or None: what other arguments say


def aggregating(rule: Rule) -> Rule:
    """The rule, where it makes one row of many.

    Raises:
        InvalidParameter: it only pre-aggregates.
    """
    if isinstance(rule.stages()[-1], PreAggregation):
        raise InvalidParameter(f"Robust: {rule} only pre-aggregates; chain it with an aggregation rule, e.g. {rule} + TrimmedMean")
    return rule


def rule_of(rule: AnyRule, f: Faults, n: int) -> Rule:
    """The rule for n replies from what `Robust` takes: a rule, a function from n to one, or a name with f; "auto" goes with each.

    Raises:
        InvalidParameter: none of these, a name that is unknown, or a name without the f that it needs.

    Example:
        >>> str(rule_of("nnm+krum", 0.2, 10)), str(rule_of("nnm+krum", "auto", 10))
        ('NNM(f=2) + Krum(f=2)', 'NNM(f=3) + Krum(f=3)')
    """
    if f == AUTO:
        return largest(rule_of(rule, 0 if isinstance(rule, str) else None, n), n)
    if isinstance(rule, str):
        if f is None:
            raise InvalidParameter(
                f"Robust: a rule by name needs f, e.g. Robust({rule!r}, f=2): how many replies of a round may be Byzantine"
            )
        return aggregating(parse(rule, faults(f, n)))
    found = rule(n) if callable(rule) and not isinstance(rule, Rule | type) else rule
    if isinstance(found, Rule):
        return aggregating(found)
    raise InvalidParameter(
        f"Robust: rule must be a rule such as rules.Krum(f=2), a name such as 'krum', or a function from n to a rule, got {rule!r}"
    )


@dataclass(kw_only=True, eq=False, repr=False)
class RuleArguments:
    """What a strategy that is named after a rule takes beside Flower's arguments.

    Attributes:
        f: replies of a round that may be Byzantine: a count, or a share of those that arrive; "auto": the most that the rule
            allows at the replies that arrived (`Rule.breakdown`). None: what Flower's own argument declares (`declared`), or
            the most that the replies allow where the rule itself does not use f.
    """

    rule_type: ClassVar[type[Rule]]
    declared: ClassVar[str] = ""  # name of Flower's argument for f
    renamed: ClassVar[dict[str, str]] = {}  # the rule's parameters that are called otherwise here

    f: Faults = None

    def rule_at(self, n: int) -> Rule:
        """The rule for a round in which n replies arrived."""
        return self.rule_with(self.faults_at(n) if self.f is not None or "f" in self.rule_type.__dataclass_fields__ else 0)

    def rule_with(self, f: int) -> Rule:
        """The rule for this number f, with the parameters that were given."""
        known = [item.name for item in fields(self.rule_type)]
        names = {name: self.renamed.get(name, name) for name in known if name != "f"}
        given = {name: self.argument(ours, f) for name, ours in names.items() if hasattr(self, ours)}
        return self.rule_type(**given, **({"f": f} if "f" in known else {}))

    def argument(self, name: str, f: int) -> Any:
        """The rule's parameter that is called `name` here, for this f."""
        return getattr(self, name)

    def faults_at(self, n: int) -> int:
        """The number f at n replies.

        Raises:
            InvalidParameter: f and Flower's argument are both given, or neither where the rule needs one.
        """
        declared = getattr(self, self.declared) if self.declared else 0
        check("strategy", self.declared or "f", declared, Constraint(int, ge=0))
        if self.f is not None and declared:
            raise InvalidParameter(f"strategy: give f or {self.declared}, not both; got f={self.f!r} and {self.declared}={declared!r}")
        if self.f == AUTO:
            return largest(self.rule_with(0), n).f
        if self.f is not None:
            return faults(self.f, n)
        return int(declared) if self.declared else self.default_faults(n)

    def default_faults(self, n: int) -> int:
        """The number f at n replies where nobody gives it: the most they allow, for rules that do not use it."""
        if self.rule_type.__dataclass_fields__["f"].default is MISSING:
            name = self.rule_type.__name__
            raise InvalidParameter(f"{name}: f must be given: how many replies of a round may be Byzantine (a count, or a share)")
        return max(n - 1, 0) // 2
