"""From the valid replies of a round to their aggregate: the rule, the weighting, the certificate."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from flwr_byzantine.arrays.adapters import Adapters
from flwr_byzantine.arrays.adjacent import joined, separate
from flwr_byzantine.arrays.arrivals import Arrivals
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.parallel import AfterPart
from flwr_byzantine.arrays.reproducible import Reproducible
from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.errors import InfeasibleRound
from flwr_byzantine.flower.spans import span
from flwr_byzantine.rules.base import Rule, refuse_irreproducible
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.results import Outcome, State
from flwr_byzantine.rules.server import Server
from flwr_byzantine.rules.view import sq_distances_between
from flwr_byzantine.strategy.adapted import FACTORS, Adapted, by_products
from flwr_byzantine.strategy.carried import all_carried
from flwr_byzantine.strategy.inspection import Inspected
from flwr_byzantine.strategy.metrics import reported_noise
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.remarks import remarks
from flwr_byzantine.strategy.sizes import Samples, per_array
from flwr_byzantine.strategy.template import Template
from flwr_byzantine.strategy.weighting import capped
from flwr_byzantine.theory.certificate import Certificate, certify

RANKS_DIFFER = "this round's rule works on LoRA's factors, and their ranks differ; a rule that weighs whole updates takes any ranks"


@dataclass(frozen=True)
class Aggregated:
    """What was made of the valid replies of a round.

    Attributes:
        outcome: of the rule, for the judged arrays.
        state: of the other arrays, flat, in the model's order.
        certificate: whether the resilience condition held, where the policy asks for that.
        remarks: what is to be noted of the arrays, see `remarks`.
        truncation: share of a layer's length that the adapter's rank leaves out, the most of any layer; None without LoRA.
    """

    outcome: Outcome
    state: list[Array]
    certificate: Certificate | None
    remarks: dict[str, str]
    truncation: float | None = None


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

    Raises:
        NotReproducible: under reproducible=True, a rule whose bits depend on the machine.
        InfeasibleRound: adapters of which no next model can be made; one sentence says why.
    """
    if policy.reproducible:
        refuse_irreproducible(rule)
    nodes, used, after_part = list(seen.rows), list(seen.replies.values()), None if spill is None else spill.after_part
    with spill or nullcontext():
        rows, adapted = list(seen.rows.values()), template.adapted if by_products(rule) else None
        blocks = _judged(template, rows) if adapted is None else adapted.blocks(rows)
        samples = Samples(blocks, after_part) if blocks else None
        updates = (
            _updates(policy, rule, blocks, nodes, after_part, seen.ahead) if adapted is None else adapted.updates(rows, nodes, after_part)
        )
        with span("rule"):
            outcome = run(rule, updates, state, server)
        if policy.weighting == "capped":
            outcome = capped(rule, updates, outcome, [reply.examples for reply in used])
        certificate = None
        if policy.certificate:
            norm = updates.length(outcome.blocks)
            certificate = certify(rule, sq_distances_between(updates), norm, reported_noise(used), squares=updates.sq_norms())
        outcome = replace(outcome, blocks=separate(outcome.blocks, blocks)) if adapted is None else outcome
        noted = _noted(policy, rule, template, samples, outcome.blocks[: len(blocks)], adapted)
        made = Aggregated(outcome, _state(template, seen, rule.f, after_part), certificate, noted)
        return made if template.adapted is None else _with_adapters(made, template.adapted, updates, rule)


def _updates(
    policy: Policy, rule: Rule, blocks: Sequence[Block], nodes: Sequence[int], after_part: AfterPart | None, ahead: Arrivals | None
) -> Updates:
    """The judged arrays as the rule is to see them: in one, where it reads whole rows only and none of their parts has been read."""
    if policy.reproducible:  # whose bits must not depend on where arrays lie
        return Reproducible(per_array(blocks, after_part) if policy.scale else blocks, nodes, after_part, ahead)
    if policy.scale:
        return Updates(per_array(blocks, after_part), nodes, after_part, ahead)
    whole = ahead is None and all(stage.mixes for stage in rule.stages())
    return Updates(joined(blocks) if whole else blocks, nodes, after_part, ahead)


def _noted(
    policy: Policy, rule: Rule, template: Template, samples: Samples | None, made: Sequence[Array], adapted: Adapted | None
) -> dict[str, str]:
    """What is to be noted of the ordinary arrays; beside adapters they are not all that clients are apart in."""
    names = template.roles.judged(template.names) if adapted is None else adapted.ordinary
    return {} if samples is None else remarks(rule, template.roles, names, samples, made, adapted is not None or bool(policy.scale))


def _with_adapters(made: Aggregated, adapted: Adapted, updates: Updates, rule: Rule) -> Aggregated:
    """What is broadcast next of the aggregate's adapters."""
    if not isinstance(updates, Adapters):
        return replace(made, remarks=made.remarks | {"factors": FACTORS.format(rule=rule)})
    judged, left_out, said = adapted.settled(updates, made.outcome.blocks)
    if left_out > (1.0 if adapted.lora.max_error is None else adapted.lora.max_error):
        raise InfeasibleRound(f"{said}, more than max_error={adapted.lora.max_error:g}")
    noted = made.remarks | ({"truncation": said} if said else {})
    return replace(made, outcome=replace(made.outcome, blocks=judged), remarks=noted, truncation=left_out)


def _judged(template: Template, rows: Sequence[list[Array]]) -> list[Block]:
    judged, origins = [template.roles.judged(row) for row in rows], template.roles.judged(template.origins)
    if template.adapted is not None and len({tuple(row.size for row in own) for own in judged}) > 1:
        raise InfeasibleRound(RANKS_DIFFER)
    return [Block(list(own), origin) for own, origin in zip(zip(*judged, strict=True), origins, strict=True)]


def _state(template: Template, seen: Inspected, f: int, after_part: AfterPart | None) -> list[Array]:
    """The state's arrays over all valid replies; as broadcast where replies are gradients, which state has none of."""
    broadcast = template.roles.state(template.values)
    if template.gradients:
        return broadcast
    state = zip(*(template.roles.state(row) for row in seen.rows.values()), strict=True)
    return all_carried(list(state), broadcast, f, after_part)
