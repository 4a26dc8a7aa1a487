"""What is worked out while replies come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flwr_byzantine.arrays.arrivals import Arrivals
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.results import State
from flwr_byzantine.strategy.counting import RuleFor, feasible
from flwr_byzantine.strategy.template import Template


def works_ahead(rule_for: RuleFor, n: int, template: Template, spill: Spill | None, state: State | None) -> Arrivals | None:
    """What works out inner products on arrival, where the rule of a round reads them, and the distances that it reads first.

    Args:
        rule_for: from the number of replies to the rule.
        n: how many nodes were asked.
        template: the broadcast model.
        spill: the file that holds the rows, or None.
        state: the rule's own, or None before its first round.
    """
    rule, _ = feasible(rule_for, n, 0, 0)
    if rule is None or template.adapted is not None:
        return None
    origins, products = template.roles.judged(template.origins), any(stage.uses_gram for stage in rule.stages())
    centres = _centres(rule, origins, template.roles.judged(template.values), state)
    if not products and centres is None:
        return None
    return Arrivals(origins, None if spill is None else spill.after_part, n, products, centres)


def _centres(rule: Rule, origins: list[Array | None], values: list[Array], state: State | None) -> Sequence[Array | None] | None:
    """Per array, what the distances are measured to that the rule reads first; None where it reads none in a pass of their own."""
    stages = [stage for stage in rule.stages() if not stage.detects] or [rule]
    first = stages[0]
    if any(stage.uses_gram for stage in stages):  # which says them too
        return None
    if first.distances_from != "previous":
        return origins if first.distances_from == "origin" else None
    updates = Updates([Block([value], origin) for value, origin in zip(values, origins, strict=True)])
    before = (rule.init(updates.d) if state is None else state).arrays.get("previous", np.zeros(updates.d))
    return [block.rows[-1] for block in updates.append([before]).blocks]
