"""What a run carries from round to round, in and out of its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InfeasibleRound
from flwr_byzantine.rules.results import State
from flwr_byzantine.strategy.checkpoint import Snapshot, arrays_of, load, restore_arrays, save
from flwr_byzantine.strategy.quarantine import Ledger, Quarantine
from flwr_byzantine.strategy.report import RoundReport
from flwr_byzantine.strategy.steps import ServerStep


@dataclass
class RunState:
    """The state of a run after its last round.

    Attributes:
        reports: one for each training round, those of the run that was resumed included.
        rule: the rule's own state, or None before its first round.
        offset: rounds done before this run, where it resumes another.
        skipped: how many rounds were skipped in a row.
        ledger: every node's record, where there is a quarantine.
    """

    reports: list[RoundReport] = field(default_factory=list)
    rule: State | None = None
    offset: int = 0
    skipped: int = 0
    ledger: Ledger | None = None

    def ledger_under(self, conditions: Quarantine | None) -> Ledger | None:
        """The records under these conditions, which may change during a run; None without a quarantine."""
        if conditions is None:
            return None
        if self.ledger is None or self.ledger.quarantine != conditions:
            known = self.ledger or Ledger(conditions)
            self.ledger = Ledger(conditions, known.records, known.banned)
        return self.ledger

    def require_progress(self) -> None:
        """Raise `InfeasibleRound` where rounds ran and none of them changed the model."""
        if self.reports and not any(report.aggregated for report in self.reports):
            last = self.reports[-1]
            reasons = [f"; node {node} {entry.status}: {entry.reason}" for node, entry in last.nodes.items() if entry.status != "rejected"]
            raise InfeasibleRound(f"none of {len(self.reports)} rounds was aggregated; the last: {last.note}{''.join(reasons[:1])}")

    def save(self, path: str | Path, server_round: int, model: Mapping[str, Array], step: ServerStep, inner: object) -> None:
        """Write the checkpoint of a round.

        Args:
            path: of the file, which is replaced.
            server_round: the round that ended.
            model: the model after it.
            step: the server's step, whose arrays belong to the run.
            inner: the strategy whose arrays, such as an optimiser's, belong to the run.
        """
        state = self.rule or State()
        groups: dict[str, Mapping[str, Array]] = {"model": model, "rule": state.arrays, "velocity": step.arrays}
        arrays = {f"{group}/{name}": np.asarray(value) for group, values in groups.items() for name, value in values.items()}
        facts = {
            "reports": [report.to_json() for report in self.reports],
            "rule_round": state.round,
            "ledger": None if self.ledger is None else self.ledger.to_json(),
            "skipped": self.skipped,
        }
        save(path, Snapshot(server_round, arrays | arrays_of(inner, "inner"), facts))

    def resume(self, path: str | Path, quarantine: Quarantine | None, step: ServerStep, inner: object) -> dict[str, Array] | None:
        """Take up what was saved, and give back its model; None where there is no file.

        Raises:
            InvalidParameter: the file is no checkpoint.
        """
        snapshot = load(path)
        if snapshot is None:
            return None
        facts = snapshot.facts
        self.offset, self.skipped = snapshot.server_round, facts["skipped"]
        self.rule = State(facts["rule_round"], snapshot.group("rule")) if facts["rule_round"] else None
        self.reports[:] = [RoundReport.from_json(line) for line in facts["reports"]]
        if quarantine is not None and facts["ledger"] is not None:
            self.ledger = Ledger.from_json(quarantine, facts["ledger"])
        step.arrays = snapshot.group("velocity")
        restore_arrays(inner, snapshot.group("inner"))
        return snapshot.group("model")
