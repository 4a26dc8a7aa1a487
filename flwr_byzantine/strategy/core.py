"""A strategy's rounds, for both Flower APIs: from the replies of a round to the next model and a report. Knows no Flower type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flwr_byzantine.arrays.arrivals import Arrivals
from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InfeasibleRound, InvalidParameter, TooFewLeft
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.strategy.ahead import works_ahead
from flwr_byzantine.strategy.combining import Aggregated, combine
from flwr_byzantine.strategy.counting import RuleFor, feasible, largest_that_came, too_few, unknown
from flwr_byzantine.strategy.exchange import Exchange
from flwr_byzantine.strategy.inspection import SAME, Combined, Inspected, Inspector, first_of_each, one_and_the_same
from flwr_byzantine.strategy.metrics import Log
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.report import NodeReport, RoundReport, detected, promise, unused, verdicts
from flwr_byzantine.strategy.steps import ServerStep
from flwr_byzantine.strategy.stored import Stored, attested
from flwr_byzantine.strategy.template import Template
from flwr_byzantine.strategy.trusted import brought


class Core(Exchange):
    """Runs a rule round after round: inspects, decides f, aggregates, takes the server's step, reports, saves.

    Attributes:
        template: what this round's replies must look like; None where no model was broadcast through this strategy.
        planned: rounds of the loop that runs this strategy, where they are known.
        broadcast: the model as the API at hand has it.
    """

    def __init__(self, policy: Policy, rule: RuleFor, step: ServerStep, log: Log, inner: Callable[[], object]) -> None:
        super().__init__(policy, rule, step, log, inner)
        self.inspector = Inspector(self.spill, self._ahead)
        self.template: Template | None = None
        self.planned: int | None = None
        self._model: Mapping[str, Array] = {}
        self.broadcast: Any = None

    def begin(self, payloads: Mapping[str, bytes | Array], broadcast: Any) -> None:
        """A round begins with this model.

        Args:
            payloads: name -> npy bytes, the server's own, or arrays where server and clients are one process.
            broadcast: the same as the API at hand has it, for the user's `server_update`.
        """
        self.end()
        self.ensure_begun()
        self.timing.begin()
        self.broadcast = broadcast
        if self.begins_empty(payloads):
            return
        model = Template.of(payloads)
        self._model = model.unflatten(model.values)
        self.compare(self._model)
        self.template = self.decide(model)
        if self.step.gradients:
            self.template.measure_from_zero()

    def end(self) -> None:
        """Forget the last round's model and replies, and close the file that held them under `spill=`."""
        self.template, self.asked, self.nobody, self.broadcast, self.fresh, self._model = None, [], "", None, False, {}
        self.inspector.close()

    def arrived(self, reply: Reply) -> bool:
        """Inspect a reply when it arrives; true where it is valid."""
        return self.template is not None and self.inspector.arrived(reply, self.template)

    def _ahead(self, template: Template, spill: Spill | None) -> Arrivals | None:
        return None if self.policy.reproducible else works_ahead(self.rule, len(self.asked), template, spill, self.state.rule)

    def round(self, server_round: int, replies: Sequence[Reply], veto: str = "") -> Combined | None:
        """Inspect, decide, aggregate, report and take the step; None where the round is skipped.

        Args:
            server_round: Flower's number of the round.
            replies: what came back; their order does not matter.
            veto: why the round is not to be aggregated whatever came back; empty otherwise.

        Raises:
            InfeasibleRound: too few valid replies, under on_infeasible="error", or for too many rounds in a row.
        """
        self.ensure_begun()
        self.timing.complete()
        number, combined = self.number(server_round), None
        try:
            with self.state.draws.of("aggregate", number):
                combined = self._round(number, replies, veto)
        finally:
            if combined is None:
                self.keeper.report(self.reports)
        return combined

    def _round(self, number: int, replies: Sequence[Reply], veto: str) -> Combined | None:
        template = self.template or self.decide(Template.of_majority(first_of_each(replies, self.asked)))
        try:
            seen = self.inspector.inspect(self.asked, replies, template)
            found = self._aggregate(number, template, seen, veto)
        finally:
            self.inspector.close()
        if found is None:
            self.keep(number, self._model)
            return None
        made, report = found
        blocks = self.step.step(number - 1, template.roles.judged(template.values), made.outcome.blocks)
        return Combined(number, blocks, made.state, list(seen.replies.values()), template, report)

    def finish(self, combined: Combined, arrays: Mapping[str, Array] | None, below: str = "") -> dict[str, Array] | None:
        """End an aggregated round with the model that the strategy below has made of the aggregate, and report it.

        Args:
            combined: the round.
            arrays: that model; None leaves the model as it was, which is a skipped round.
            below: the strategy's name.

        Returns:
            That model in the broadcast one's order, shapes and dtypes.

        Raises:
            InfeasibleRound: too many rounds in a row have left the model as it was.
            InvalidParameter: that model has not the arrays of the one it was made of.
        """
        try:
            model = None if arrays is None else combined.template.conform(arrays, combined.state)
        except InvalidParameter as error:
            self.abandon(combined, reason := f"{below}: {error}")
            raise InvalidParameter(reason) from None
        try:
            if model is None:
                self._leave(unused(combined.report, f"{below} made no model of the aggregate"))
            else:
                self.state.skipped = 0
                self._publish(combined.report)
            self.keep(combined.server_round, self._model if model is None else model)
        finally:
            self.keeper.report(self.reports)
        return model

    def abandon(self, combined: Combined, reason: str) -> None:
        """Report an aggregated round that ends the run, since the strategy below cannot take the aggregate."""
        self._publish(unused(combined.report, reason))
        self.keeper.report(self.reports)

    def _aggregate(self, server_round: int, template: Template, seen: Inspected, veto: str) -> tuple[Aggregated, RoundReport] | None:
        """What is made of the replies and the round's report, or None where the round is skipped, which is reported at once."""
        nodes, (rule, report, short) = list(seen.rows), self._decided(server_round, seen)
        if veto or short or rule is None:
            self._skip(report, short, seen, veto)
            return None
        if rule.f and one_and_the_same(list(seen.rows.values()), template.values):
            report = replace(report, note=f"{report.note}; {SAME}" if report.note else SAME)
        server, before = brought(self.policy, rule, server_round, self.broadcast, template), self.state.rule
        try:
            made = combine(self.policy, rule, template, seen, before, server, self.inspector.spill)
        except TooFewLeft as error:
            self._skip(report, str(error), replace(seen, dropped=seen.dropped | detected(nodes, error.detections)), veto)
            return None
        except InfeasibleRound as error:
            self._skip(report, str(error), seen, "")
            return None
        self.state.rule = None if self.fresh else made.outcome.state  # whole models are no memory for differences
        decided = {**seen.dropped, **verdicts(nodes, made.outcome, rule)}
        notes = self.remark(server_round, made.remarks)
        report = replace(report, certificate=made.certificate, nodes=decided, notes=notes, truncation=made.truncation)
        if self.policy.reproducible:
            stored = Stored(rule, template, seen, before, server.trusted, self.policy.weighting, report)
            report = attested(stored, made, self.policy, self.state.run, self.log)
        return made, report

    def _decided(self, server_round: int, seen: Inspected) -> tuple[Rule | None, RoundReport, str]:
        """The rule for the valid replies, the report as far as it is known by now, and why they are too few, where they are."""
        n, statuses = len(seen.rows), [entry.status for entry in seen.dropped.values()]
        bad, auto = statuses.count("invalid"), unknown(self.policy)
        silent = len(statuses) - bad if self.policy.on_missing == "lower-f" else 0
        rule, note = largest_that_came(self.rule, n) if auto else feasible(self.rule, n, bad, silent)
        f, short = (0, note) if rule is None else (rule.f, too_few(rule, n))
        replied = n + bad + statuses.count("failed")
        report = RoundReport(server_round, n + len(statuses), replied, n, f, str(rule or "none"), True, True, note)
        return rule, replace(report, **promise(rule, n)), short

    def _skip(self, report: RoundReport, short: str, seen: Inspected, veto: str) -> None:
        nodes = dict.fromkeys(seen.rows, NodeReport("kept")) | seen.dropped
        skipped = unused(replace(report, feasible=not short, nodes=nodes), veto or short)
        if self.policy.on_infeasible == "error" and not veto:
            self._publish(skipped)
            raise InfeasibleRound(f"round {report.server_round}: {skipped.note}; lower f, sample more, or pass on_infeasible='skip'")
        self._leave(skipped)

    def _leave(self, report: RoundReport) -> None:
        """Report a round that leaves the model as it was, and end the run where that happens again and again, or to the last."""
        self._publish(report)
        count = self.state.skipped = self.state.skipped + 1
        if count >= self.policy.max_skipped_rounds:
            raise InfeasibleRound(f"round {report.server_round}: skipped {count} rounds in a row; the last because {report.note}")
        if self.planned is not None and report.server_round >= self.number(self.planned):
            self.state.require_progress()

    def _publish(self, report: RoundReport) -> None:
        """Keep the report, with the times that are known, and log it."""
        planned = None if self.planned is None else self.number(self.planned)
        for level, text in self.state.enter(self.timing.stamped(replace(report, planned=planned)), self.policy.quarantine):
            self.log(level, text)
