"""How many replies a round needs, and what becomes of f where there are fewer."""

from __future__ import annotations

from collections.abc import Callable

from flwr_byzantine.rules.base import Rule

RuleFor = Callable[[int], Rule]  # the rule for a round in which n replies arrived


def feasible(rule_for: RuleFor, n: int, invalid: int) -> tuple[Rule, str]:
    """The rule at n valid replies, and what it rests on.

    Where n is too few, f may fall by the replies found invalid (THEORY §5).

    Args:
        rule_for: from the number of replies that arrived to the rule of the round.
        n: valid replies.
        invalid: replies found invalid.

    Example:
        >>> from flwr_byzantine import rules
        >>> feasible(lambda n: rules.TrimmedMean(f=1), n=2, invalid=1)[0]
        TrimmedMean(f=0)
    """
    rule = rule_for(n + invalid)
    if n >= rule.min_n() or not 0 < invalid <= rule.f:
        return rule, ""
    lower = rule.with_f(rule.f - invalid)
    if n < lower.min_n():
        return rule, ""
    return lower, f"f lowered from {rule.f} to {lower.f}: rests on the {invalid} invalid replies being Byzantine ones"
