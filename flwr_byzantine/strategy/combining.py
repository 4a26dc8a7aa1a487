"""From the valid replies of a round to their aggregate: the rule, the weighting, the certificate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.results import Outcome, State
from flwr_byzantine.rules.view import sq_distances_between
from flwr_byzantine.strategy.metrics import reported_noise
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.weighting import capped
from flwr_byzantine.theory.certificate import Certificate, certify


def combine(
    policy: Policy, rule: Rule, updates: Updates, state: State | None, trusted: Array | None, used: Sequence[Reply]
) -> tuple[Outcome, Certificate | None]:
    """What the rule makes of the updates, and whether the resilience condition held, where the policy asks for that.

    Args:
        policy: `weighting` and `certificate` are read.
        rule: of the round.
        updates: of the valid replies.
        state: the rule's own, or None before its first round.
        trusted: the server's own update, where there is one.
        used: the valid replies, in the order of the updates.
    """
    outcome = run(rule, updates, state, trusted)
    if policy.weighting == "capped":
        outcome = capped(rule, updates, outcome, [reply.examples for reply in used])
    if not policy.certificate:
        return outcome, None
    norm = float(np.linalg.norm(updates.deltas(outcome.blocks)))
    return outcome, certify(rule, sq_distances_between(updates), norm, reported_noise(used))
