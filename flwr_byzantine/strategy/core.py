"""What both Flower adapters share and no Flower type enters: from inspected replies to an aggregate and a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import Block, Updates
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InfeasibleRound, InvalidParameter
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.results import Outcome, State
from flwr_byzantine.strategy.checkpoint import Snapshot
from flwr_byzantine.strategy.policy import CAP, Policy
from flwr_byzantine.strategy.quarantine import Ledger
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from flwr_byzantine.strategy.template import Template
from flwr_byzantine.strategy.trusted import MISSING, trusts
from flwr_byzantine.theory.certificate import Certificate, certify

NOISE_KEY = "gradient-noise"  # metric: E‖G - E G‖² as a client estimates it
RuleFor = Callable[[int], Rule]  # the rule for a round in which n replies arrived
Log = Callable[[str], None]


def rule_for(make: Callable[[int], Rule], f: float | None, default: Callable[[int], int]) -> RuleFor:
    """The rule of a round from `f`: a count, a share of the replies that arrived, or None for `default(n)`.

    Raises:
        InvalidParameter: f is negative, or neither an integer nor a share below 1/2.
    """
    if f is None:
        return lambda n: make(default(n))
    if isinstance(f, float) and not isinstance(f, bool):
        check("strategy", "f", f, Constraint(float, ge=0, lt=0.5))
        return lambda n: make(math.floor(f * n + 1e-9))
    check("strategy", "f", f, Constraint(int, ge=0))
    rule = make(int(f))
    return lambda n: rule


class Core:
    """Runs a rule round after round: decides f, carries the rule's state, writes the reports."""

    def __init__(self, rule: RuleFor, policy: Policy, log: Log) -> None:
        self.rule, self.policy, self.log = rule, policy, log
        self.reports: list[RoundReport] = []
        self.state: State | None = None
        self.ledger = None if policy.quarantine is None else Ledger(policy.quarantine)
        self.skipped = 0  # rounds in a row
        self._spill: Spill | None = None

    def keep(self, rows: list[Array]) -> list[Array]:
        """An inspected reply for the rest of the round: where the policy says so, in a file."""
        if self.policy.spill is None:
            return rows
        self._spill = Spill(self.policy.spill) if self._spill is None else self._spill
        return self._spill.add(rows)

    def forget(self) -> None:
        """Close the round's file, if there is one."""
        spill, self._spill = self._spill, None
        if spill is not None:
            spill.close()

    def aggregate(
        self,
        server_round: int,
        template: Template,
        valid: Mapping[int, list[Array]],
        dropped: Mapping[int, NodeReport],
        reference: Array | None = None,
        noise: float | None = None,
        examples: Mapping[int, Any] | None = None,
    ) -> list[Array] | None:
        """One flat block per model array, or None where the round is skipped; adds a report.

        Args:
            server_round: the round's number.
            template: the broadcast model.
            valid: node id -> inspected reply.
            dropped: node id -> what is known of the sampled nodes without a valid reply.
            reference: (d,) the server's own update, for rules that trust one.
            noise: what the clients report of their gradient noise, for the certificate.
            examples: node id -> what it says of its number of examples, for weighting="capped".

        Raises:
            InfeasibleRound: too few valid replies, under on_infeasible="error".
        """
        nodes = sorted(valid)  # a fixed order: arrival does not change a bit
        invalid = sum(report.status == "invalid" for report in dropped.values())
        rule, note = self._feasible(len(nodes), invalid)
        replied = len(nodes) + sum(report.status in ("invalid", "failed") for report in dropped.values())
        report = RoundReport(server_round, len(nodes) + len(dropped), replied, len(nodes), rule.f, str(rule), True, True, note)
        if not nodes or len(nodes) < rule.min_n():
            return self._infeasible(report, rule, valid, dropped)
        blocks = [Block([valid[node][k] for node in nodes], origin) for k, origin in enumerate(template.origins)]
        if reference is None and trusts(rule):
            raise InvalidParameter(MISSING.format(rule=rule))
        updates = Updates(blocks, nodes, None if self._spill is None else self._spill.after_part)
        with nullcontext() if self._spill is None else self._spill:
            outcome = run(rule, updates, self.state, reference)
            self.state, self.skipped = outcome.state, 0
            if self.policy.weighting == "capped":
                outcome = capped(rule, updates, outcome, [(examples or {}).get(node) for node in nodes])
            certificate = certificate_of(rule, updates, outcome.blocks, noise) if self.policy.certificate else None
        self._publish(replace(report, certificate=certificate, nodes={**dict(dropped), **verdicts(nodes, outcome, rule)}))
        return outcome.blocks

    def _feasible(self, n: int, invalid: int) -> tuple[Rule, str]:
        """The rule at n replies; where they are too few, f may fall by the replies found invalid (THEORY §5)."""
        rule = self.rule(n + invalid)
        if n >= rule.min_n() or not 0 < invalid <= rule.f:
            return rule, ""
        lower = rule.with_f(rule.f - invalid)
        if n < lower.min_n():
            return rule, ""
        return lower, f"f lowered from {rule.f} to {lower.f}: rests on the {invalid} invalid replies being Byzantine ones"

    def _infeasible(
        self, report: RoundReport, rule: Rule, valid: Mapping[int, Any], dropped: Mapping[int, NodeReport]
    ) -> list[Array] | None:
        note = f"{rule} needs at least {max(rule.min_n(), 1)} valid replies, got {len(valid)}; the model stays as it was"
        unused = {node: NodeReport("rejected", "the round was skipped") for node in valid}
        self._publish(replace(report, feasible=False, aggregated=False, note=note, nodes={**dict(dropped), **unused}))
        self.skipped += 1
        if self.policy.on_infeasible == "error":
            raise InfeasibleRound(f"round {report.server_round}: {note}; lower f, sample more nodes, or pass on_infeasible='skip'")
        if self.skipped >= self.policy.max_skipped_rounds:
            raise InfeasibleRound(f"round {report.server_round}: skipped {self.skipped} rounds in a row; the last because {note}")
        return None

    def quorum(self, n: int) -> int:
        """Valid replies after which the others get no more than the grace period, where n nodes are asked."""
        rule = self.rule(n)
        return max(1, rule.min_n(), n - rule.f)

    def require_progress(self) -> None:
        """Raise `InfeasibleRound` where rounds ran and none of them changed the model."""
        if self.reports and not any(report.aggregated for report in self.reports):
            last = self.reports[-1]
            reasons = [f"; node {node} {entry.status}: {entry.reason}" for node, entry in last.nodes.items() if entry.status != "rejected"]
            raise InfeasibleRound(f"none of {len(self.reports)} rounds was aggregated; the last: {last.note}{''.join(reasons[:1])}")

    def save(self, snapshot: Snapshot) -> None:
        """Add the state to a snapshot."""
        state = State() if self.state is None else self.state
        snapshot.arrays |= {f"rule/{name}": np.asarray(value) for name, value in state.arrays.items()}
        ledger = None if self.ledger is None else self.ledger.to_json()
        reports = [report.to_json() for report in self.reports]
        snapshot.facts |= {"reports": reports, "rule_round": state.round, "ledger": ledger, "skipped": self.skipped}

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot."""
        facts = snapshot.facts
        self.state = State(facts["rule_round"], snapshot.group("rule")) if facts["rule_round"] else None
        self.reports = [RoundReport.from_json(line) for line in facts["reports"]]
        self.skipped = facts["skipped"]
        if self.policy.quarantine is not None and facts["ledger"] is not None:
            self.ledger = Ledger.from_json(self.policy.quarantine, facts["ledger"])

    def _publish(self, report: RoundReport) -> None:
        report = replace(report, nodes={node: report.nodes[node] for node in sorted(report.nodes)})
        self.reports.append(report)
        kept = len(report.with_status("kept"))
        self.log(f"round {report.server_round}: {report.rule} kept {kept} of {report.n_sampled} nodes")
        if report.note:
            self.log(f"round {report.server_round}: {report.note}")
        for node, entry in report.nodes.items():
            if entry.status in ("invalid", "failed", "missing"):
                self.log(f"round {report.server_round}: node {node} {entry.status}: {entry.reason or 'no reply'}")
        for node in [] if self.ledger is None else self.ledger.update(report):
            self.log(f"round {report.server_round}: node {node} is in quarantine: its replies were bad too often")
        if self.policy.report_path is not None:
            with open(self.policy.report_path, "a", encoding="utf-8") as file:
                file.write(report.to_json() + "\n")
                file.flush()


def verdicts(nodes: Sequence[int], outcome: Outcome, rule: Rule) -> dict[int, NodeReport]:
    """Who was kept and who rejected by the rule."""
    kept = outcome.influence > 1e-12
    if outcome.selected is not None and outcome.weights is None:
        kept = np.isin(np.arange(len(nodes)), outcome.selected)
    scores = [None] * len(nodes) if outcome.scores is None else [float(score) for score in outcome.scores]
    return {
        node: NodeReport("kept" if keep else "rejected", "" if keep else f"left out by {rule}", score, float(weight))
        for node, keep, score, weight in zip(nodes, kept, scores, outcome.influence, strict=True)
    }


def capped(rule: Rule, updates: Updates, outcome: Outcome, examples: Sequence[Any]) -> Outcome:
    """The average of a selection, weighed by num-examples of which at most `CAP` times the selection's median counts.

    A number that is missing, negative or not finite counts as the median.

    Raises:
        InvalidParameter: the rule does not average a selection.
    """
    chosen, weights = outcome.selected, outcome.weights
    if not chosen or weights is None or np.ptp(weights[list(chosen)]) > 1e-12 or abs(weights[list(chosen)].sum() - 1) > 1e-9:
        raise InvalidParameter(f"strategy: weighting='capped' needs a rule that averages a selection, such as MultiKrum, got {rule}")
    said = [_count(examples[i]) for i in chosen]
    middle = float(np.median([value for value in said if value is not None] or [1.0]))
    counts = np.array([middle if value is None else min(value, CAP * middle) for value in said])
    weights = np.zeros(updates.n)
    weights[list(chosen)] = counts / counts.sum() if counts.sum() > 0 else 1 / len(chosen)
    return replace(outcome, blocks=updates.combine(weights), weights=weights, influence=weights)


def _count(value: Any) -> float | None:
    numbers = _numbers(value)
    return numbers[0] if numbers and not isinstance(value, list) and numbers[0] >= 0 else None


def certificate_of(rule: Rule, updates: Updates, blocks: list[Array], noise: float | None) -> Certificate:
    """Whether the resilience condition held for these replies and this aggregate."""
    norm = float(np.linalg.norm(updates.deltas(blocks)))
    return certify(rule, sq_distances(updates.gram(centred=True)), norm, noise)


def reported_noise(records: Sequence[Mapping[str, Any]]) -> float | None:
    """The median of what the clients say of their gradient's noise, or None where no majority does."""
    found = robust_metrics([{key: value for key, value in record.items() if key == NOISE_KEY} for record in records], "")
    noise = found.get(NOISE_KEY)
    return noise if isinstance(noise, float) else None


def robust_metrics(records: Sequence[Mapping[str, Any]], skip: str) -> dict[str, Any]:
    """Per key, the median over the replies that report it well; keys that no majority reports well are left out.

    Args:
        records: what each valid reply reports.
        skip: the key of the number of examples, which is not a metric.
    """
    keys = sorted({key for record in records for key in record if key != skip})
    found = {key: _median([record.get(key) for record in records]) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def _median(values: list[Any]) -> float | list[float] | None:
    found = [(isinstance(value, list), row) for value in values if (row := _numbers(value)) is not None]
    forms = [(listed, len(row)) for listed, row in found]
    common = max(set(forms), key=forms.count) if forms else (False, 0)
    rows = [row for listed, row in found if (listed, len(row)) == common]
    if 2 * len(rows) <= len(values) or common[1] == 0:
        return None
    middle = [float(item) for item in np.median(np.array(rows, np.float64), axis=0)]
    return middle if common[0] else middle[0]


def _numbers(value: Any) -> list[float] | None:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in items):
        return None
    try:
        numbers = [float(item) for item in items]
    except OverflowError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
