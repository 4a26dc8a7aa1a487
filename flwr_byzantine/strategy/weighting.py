"""How much a kept reply counts: all the same, or by the num-examples that its client claims, capped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.results import Outcome
from flwr_byzantine.strategy.metrics import finite_numbers

CAP = 2.0  # num-examples counts up to this many times the median of the selection


def capped(rule: Rule, updates: Updates, outcome: Outcome, examples: Sequence[Any]) -> Outcome:
    """The average of a selection, weighed by num-examples of which at most `CAP` times the selection's median counts.

    A number that is missing, negative, not finite or more than any data set has (2^63) counts as the median.

    Args:
        rule: the rule that made the selection, for the error message.
        updates: the n replies.
        outcome: what the rule made of them.
        examples: for each reply, what it says of its number of examples.

    Raises:
        InvalidParameter: the rule does not average a selection.
    """
    chosen, weights = outcome.selected, outcome.weights
    if not chosen or weights is None or np.ptp(weights[list(chosen)]) > 1e-12 or abs(weights[list(chosen)].sum() - 1) > 1e-9:
        raise InvalidParameter(f"strategy: weighting='capped' needs a rule that averages a selection, such as MultiKrum, got {rule}")
    said = [_count(examples[i]) for i in chosen]
    middle = float(np.median([value for value in said if value is not None] or [1.0]))
    counts = updates.numbers(np.array([middle if value is None else min(value, CAP * middle) for value in said]))
    weights = np.zeros(updates.n)
    weights[list(chosen)] = counts / counts.sum() if counts.sum() > 0 else 1 / len(chosen)
    return replace(outcome, blocks=updates.combine(weights), weights=weights, influence=weights)


def _count(value: Any) -> float | None:
    numbers = finite_numbers(value)
    return numbers[0] if numbers and not isinstance(value, list) and 0 <= numbers[0] < 2**63 else None
