"""What a run carries from round to round, in and out of its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from logging import WARNING
from typing import Any
from uuid import uuid4

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InfeasibleRound
from flwr_byzantine.rules.results import State
from flwr_byzantine.strategy.attributes import Attributes
from flwr_byzantine.strategy.checkpoint import Snapshot
from flwr_byzantine.strategy.draws import Draws
from flwr_byzantine.strategy.identity import Identity, require_model
from flwr_byzantine.strategy.plain import pack, unpack
from flwr_byzantine.strategy.quarantine import Ledger, Quarantine
from flwr_byzantine.strategy.report import RoundReport
from flwr_byzantine.strategy.steps import ServerStep

Expected = Callable[[], Mapping[str, Any]] | None


@dataclass
class RunState:
    """The state of a run after its last round.

    Attributes:
        reports: one for each training round, those of the run that was resumed included, and of earlier runs of the same strategy.
        earlier: how many of them are of rounds that ended before this run began, or went on.
        rule: the rule's own state, or None before its first round.
        offset: rounds done before this run, where it resumes another.
        skipped: how many rounds were skipped in a row.
        ledger: every node's record, where there is a quarantine.
        run: the run's id, made when it begins and kept when it goes on; empty before.
        identity: what the program that goes on must have in common with the one that began; None without a checkpoint.
        shared: names of the arrays that clients share; None for all.
        judged: names of the judged arrays, None before the first round.
        infinite: name -> how many values were not finite in the first model, of those that had any; None before.
        evaluation: of the model after the last round: "clients" and "server" -> its metrics, for the next report.
        draws: the run's randomness.
        attributes: the strategies' own state.
    """

    reports: list[RoundReport] = field(default_factory=list)
    earlier: int = 0
    rule: State | None = None
    offset: int = 0
    skipped: int = 0
    ledger: Ledger | None = None
    run: str = ""
    identity: Identity | None = None
    shared: list[str] | None = None
    judged: list[str] | None = None
    infinite: dict[str, int] | None = None
    evaluation: dict[str, dict[str, float]] = field(default_factory=dict)
    draws: Draws = field(default_factory=Draws)
    attributes: Attributes = field(default_factory=lambda: Attributes([]))
    _unsaved: dict[str, bool] = field(default_factory=dict)  # what no checkpoint holds, and whether it was named

    def begin(self) -> None:
        """A run begins, which may turn out to be one that goes on."""
        self.run, self.identity, self.draws = uuid4().hex, None, Draws()
        self.shared, self.judged, self.infinite = None, None, None
        self.offset, self.skipped, self.earlier, self.evaluation = 0, 0, len(self.reports), {}
        self.draws.choose()

    @property
    def own(self) -> list[RoundReport]:
        """The reports of the rounds since this run began, or went on."""
        return self.reports[self.earlier :]

    @property
    def silent(self) -> set[int]:
        """The nodes that gave no valid reply in the rounds that were skipped last."""
        reports = self.reports[len(self.reports) - self.skipped :]
        return {node for report in reports for node, entry in report.nodes.items() if entry.status not in ("kept", "rejected")}

    def enter(self, report: RoundReport, conditions: Quarantine | None) -> list[tuple[int, str]]:
        """Keep a round's report, and enter it in the quarantine's records; gives what the log says: pairs of level and text."""
        report = replace(report, run=self.run, nodes={node: report.nodes[node] for node in sorted(report.nodes)})
        ledger = self.ledger_under(conditions)
        banned = {} if ledger is None else {node: ledger.banned[node] for node in ledger.update(report)}
        self.reports.append(replace(report, banned=banned, evaluation=self.evaluation))
        self.evaluation = {}
        head = f"round {report.server_round}: node"
        return [*report.lines(), *((WARNING, f"{head} {node} is in quarantine: its replies were bad too often") for node in banned)]

    def ledger_under(self, conditions: Quarantine | None) -> Ledger | None:
        """The records under these conditions, which may change during a run; None without a quarantine."""
        if conditions is None:
            return None
        if self.ledger is None or self.ledger.quarantine != conditions:
            known = self.ledger or Ledger(conditions)
            self.ledger = Ledger(conditions, known.records, known.banned)
        return self.ledger

    def require_progress(self) -> None:
        """Raise `InfeasibleRound` where rounds ran since the run began, or went on, and none of them changed the model."""
        if self.own and not any(report.aggregated for report in self.own):
            last = self.own[-1]
            reasons = [f"; node {node} {entry.status}: {entry.reason}" for node, entry in last.nodes.items() if entry.status != "rejected"]
            raise InfeasibleRound(f"none of {len(self.own)} rounds was aggregated; the last: {last.note}{''.join(reasons[:1])}")

    def snapshot(self, server_round: int, model: Mapping[str, Array], step: ServerStep) -> Snapshot:
        """The run after a round.

        Args:
            server_round: the round that ended.
            model: the model after it.
            step: the server's step, whose arrays belong to the run.
        """
        state = self.rule or State()
        outside: dict[str, Array] = {}
        forms, held, unsaved = self.attributes.changed()
        self._unsaved = {name: False for name in unsaved} | self._unsaved
        facts = {
            "run": self.run,
            "identity": None if self.identity is None else asdict(self.identity),
            "reports": [report.to_json() for report in self.reports],
            "rule_round": state.round,
            "ledger": None if self.ledger is None else self.ledger.to_json(),
            "skipped": self.skipped,
            "shared": self.shared,
            "judged": self.judged,
            "infinite": self.infinite,
            "seeds": self.draws.seeds,
            "outside": pack(self.draws.outside(), "states", outside),
            "attributes": forms,
        }
        groups = {"model": model, "rule": state.arrays, "velocity": step.arrays, "outside": outside, "attributes": held}
        arrays = {f"{group}/{name}": np.asarray(value) for group, values in groups.items() for name, value in values.items()}
        return Snapshot(server_round, arrays, facts)

    def newly_unsaved(self) -> list[str]:
        """What the last snapshot could not hold, each once in a run."""
        found = [name for name, named in self._unsaved.items() if not named]
        self._unsaved.update(dict.fromkeys(found, True))
        return found

    def restore(
        self, snapshot: Snapshot, path: object, quarantine: Quarantine | None, step: ServerStep, expected: Expected
    ) -> dict[str, Array]:
        """Take up what was saved, and give back its model.

        Args:
            snapshot: the saved run.
            path: where it was saved, for messages.
            quarantine: the conditions that hold by now.
            step: the server's step.
            expected: gives name -> array of the model that the program has; None where it is not known.

        Raises:
            InvalidParameter: it is of another model, rule, strategy or run; nothing is changed.
        """
        facts, model = snapshot.facts, snapshot.group("model")
        identity = None if self.identity is None else self.identity.require(facts["identity"], path)
        if expected is not None and (given := expected()):
            require_model(model, given, path, facts["judged"])
        self.run, self.identity = facts["run"], identity
        self.offset, self.skipped = snapshot.server_round, facts["skipped"]
        self.shared, self.judged, self.infinite = facts["shared"], facts["judged"], facts["infinite"]
        self.rule = State(facts["rule_round"], snapshot.group("rule")) if facts["rule_round"] else None
        self.reports[:] = [RoundReport.from_json(line) for line in facts["reports"]]
        self.earlier = len(self.reports)
        if quarantine is not None and facts["ledger"] is not None:
            self.ledger = Ledger.from_json(quarantine, facts["ledger"])
        step.arrays = snapshot.group("velocity")
        self.attributes.restore(facts["attributes"], snapshot.group("attributes"))
        self.draws = Draws(facts["seeds"])
        self.draws.resume(unpack(facts["outside"], snapshot.group("outside")))
        return model
