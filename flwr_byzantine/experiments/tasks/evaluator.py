"""What is measured after each round of a federation, whatever it learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping
from typing import Any, Protocol

from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp.strategy import Strategy

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.experiments.detection import Verdict
from flwr_byzantine.experiments.measures import History, ReplyShares
from flwr_byzantine.flower.codec import flat
from flwr_byzantine.flower.spans import span
from flwr_byzantine.strategy.message import RobustAggregation
from flwr_byzantine.strategy.report import RoundReport

OnRound = Callable[[int, float], None]
OnReport = Callable[[RoundReport], None]
Measured = Callable[[int, Any], Mapping[str, float]]


class Recording(Protocol):
    """What is asked of the last round's replies; a `RecordingGrid` for one."""

    @property
    def attackers(self) -> int:
        """How many attackers answered."""

    def shares(self, report: RoundReport | None) -> ReplyShares:
        """How much of the honest and of the malicious replies was kept."""

    def verdicts(self, report: RoundReport) -> list[Verdict]:
        """Who of them was left out."""

    def kappa(self, aggregate: Array) -> float:
        """See `measures.kappa_seen`."""


class Evaluator:
    """A strategy's `evaluate_fn`: measures each new model, and how the rule treated the replies of the round before.

    Args:
        measured: from round and model to its values by the names of `measures.MODEL_MEASURES`, the same ones each time; accuracy is one.
        strategy: whose reports say whom the rule kept; where it writes none, it is an average.
        recorder: knows the replies of the last round.
        due: rounds after which the model is measured; round 0 is one.
        on_round: gets round and accuracy after each of them.
        on_report: gets each report of the strategy.
        aggregate: what the rule gave, from the round and the models before and after it; None where it is the new model.

    Attributes:
        history: what was measured.
    """

    def __init__(
        self,
        measured: Measured,
        strategy: Strategy,
        recorder: Recording,
        due: Container[int],
        on_round: OnRound,
        on_report: OnReport | None = None,
        aggregate: Callable[[int, Array, Array | None], Array | None] | None = None,
    ) -> None:
        self.measured, self.strategy, self.recorder, self.due = measured, strategy, recorder, due
        self.on_round, self.on_report, self.aggregate = on_round, on_report, aggregate or (lambda _round, _before, now: now)
        self.history = History()
        self._before: Array | None = None

    def __call__(self, server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Measure the round that ends with this model."""
        return self.note(server_round, flat(arrays), arrays)

    def note(self, server_round: int, now: Array, arrays: Any) -> MetricRecord | None:
        """As a call, with the model as one vector and as `measured` takes it."""
        if self._before is not None:
            self._measure_round(server_round, self._before, now)
        self._before = now
        if server_round not in self.due:
            self.history.skip_model()
            return None
        with span("evaluation"):
            found = self.measured(server_round, arrays)
        for name, value in found.items():
            getattr(self.history, name).append(value)
        self.on_round(server_round, found["accuracy"])
        return MetricRecord(dict(found))

    @span("measures")
    def _measure_round(self, server_round: int, before: Array, now: Array) -> None:
        report = self.strategy.reports[-1] if isinstance(self.strategy, RobustAggregation) else None
        if report is not None and self.on_report is not None:
            self.on_report(report)
        shares = self.recorder.shares(report)
        self.history.malicious_kept.append(shares.malicious_kept)
        self.history.malicious_share.append(shares.malicious_share)
        self.history.honest_dropped.append(shares.honest_dropped)
        if report is not None:
            self.history.verdicts.append(self.recorder.verdicts(report))
        moved = report is None or report.aggregated
        gave = self.aggregate(server_round, before, now if moved else None)
        self.history.kappa_seen.append(math.nan if gave is None else self.recorder.kappa(gave))
        count = self.recorder.attackers
        self.history.attackers.append(count)
        self.history.over_f.append(math.nan if report is None else float(count > report.f))
        self.history.skipped.append(float(not moved))
