"""What follows from a rule's declaration."""

from __future__ import annotations

from flwr_byzantine.rules.base import Rule


def breakdown(rule: Rule, n: int) -> int:
    """The largest f for which the rule's guarantee holds at n rows: 0 for rules that withstand nobody, -1 below every `min_n`.

    Args:
        rule: any rule or chain; its own f does not matter.
        n: rows.

    Example:
        >>> from flwr_byzantine import rules
        >>> [breakdown(rule, 11) for rule in (rules.Krum(f=0), rules.Bulyan(f=0), rules.Median(), rules.Mean())]
        [4, 2, 5, 0]
    """
    if n < rule.with_f(0).min_n():
        return -1
    if not all(stage.robust for stage in rule.stages()):
        return 0
    f = 0
    while 2 * f + 2 < n and n >= rule.with_f(f + 1).min_n():
        f += 1
    return f
