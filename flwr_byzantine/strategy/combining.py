"""From the valid replies of a round to their aggregate: the rule, the weighting, the certificate."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from flwr_byzantine.arrays.parallel import AfterPart
from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Block, Updates
from flwr_byzantine.flower.spans import span
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.results import Outcome, State
from flwr_byzantine.rules.server import Server
from flwr_byzantine.rules.view import sq_distances_between
from flwr_byzantine.strategy.carried import all_carried
from flwr_byzantine.strategy.inspection import Inspected
from flwr_byzantine.strategy.metrics import reported_noise
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.remarks import remarks
from flwr_byzantine.strategy.sizes import Samples, per_array
from flwr_byzantine.strategy.template import Template
from flwr_byzantine.strategy.weighting import capped
from flwr_byzantine.theory.certificate import Certificate, certify


@dataclass(frozen=True)
class Aggregated:
    """What was made of the valid replies of a round.

    Attributes:
        outcome: of the rule, for the judged arrays.
        state: of the other arrays, flat, in the model's order.
        certificate: whether the resilience condition held, where the policy asks for that.
        remarks: what is to be noted of the arrays, see `remarks`.
    """

    outcome: Outcome
    state: list[Array]
    certificate: Certificate | None
    remarks: dict[str, str]


def combine(
    policy: Policy, rule: Rule, template: Template, seen: Inspected, state: State | None, server: Server, spill: Spill | None
) -> Aggregated:
    """What the rule makes of the judged arrays, and what becomes of the others.

    Args:
        policy: `weighting`, `scale` and `certificate` are read.
        rule: of the round.
        template: the broadcast model.
        seen: the valid replies.
        state: the rule's own, or None before its first round.
        server: what the server has of its own, of the judged arrays.
        spill: the file that holds the rows, which is closed, or None.
    """
    nodes, used, after_part = list(seen.rows), list(seen.replies.values()), None if spill is None else spill.after_part
    with spill or nullcontext():
        blocks = _judged(template, seen)
        samples = Samples(blocks, after_part)
        updates = Updates(per_array(blocks, after_part) if policy.scale else blocks, nodes, after_part)
        with span("rule"):
            outcome = run(rule, updates, state, server)
        if policy.weighting == "capped":
            outcome = capped(rule, updates, outcome, [reply.examples for reply in used])
        certificate = None
        if policy.certificate:
            norm = float(np.linalg.norm(updates.deltas(outcome.blocks)))
            certificate = certify(rule, sq_distances_between(updates), norm, reported_noise(used), squares=updates.sq_norms())
        noted = remarks(rule, template.roles, samples, outcome.blocks, bool(policy.scale))
        return Aggregated(outcome, _state(template, seen, rule.f, after_part), certificate, noted)


def _judged(template: Template, seen: Inspected) -> list[Block]:
    judged = zip(*(template.roles.judged(row) for row in seen.rows.values()), strict=True)
    return [Block(list(rows), origin) for rows, origin in zip(judged, template.roles.judged(template.origins), strict=True)]


def _state(template: Template, seen: Inspected, f: int, after_part: AfterPart | None) -> list[Array]:
    """The state's arrays over all valid replies; as broadcast where replies are gradients, which state has none of."""
    broadcast = template.roles.state(template.values)
    if template.gradients:
        return broadcast
    state = zip(*(template.roles.state(row) for row in seen.rows.values()), strict=True)
    return all_carried(list(state), broadcast, f, after_part)
