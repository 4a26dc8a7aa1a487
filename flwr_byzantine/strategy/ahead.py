"""What is worked out while replies come."""

from __future__ import annotations

from flwr_byzantine.arrays.arrivals import Arrivals
from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.strategy.counting import RuleFor, feasible
from flwr_byzantine.strategy.template import Template


def works_ahead(rule_for: RuleFor, n: int, template: Template, spill: Spill | None) -> Arrivals | None:
    """What works out inner products on arrival, where the rule of a round reads them.

    Args:
        rule_for: from the number of replies to the rule.
        n: how many nodes were asked.
        template: the broadcast model.
        spill: the file that holds the rows, or None.
    """
    rule, _ = feasible(rule_for, n, 0, 0)
    if rule is None or template.adapted is not None or not any(stage.uses_gram for stage in rule.stages()):
        return None
    return Arrivals(template.roles.judged(template.origins), None if spill is None else spill.after_part, n)
