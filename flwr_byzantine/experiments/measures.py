"""What an experiment measures, round by round: of the model, and of what the rule made of honest and malicious replies."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from flwr_byzantine.arrays.moments import departures
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.experiments.detection import Round, auc, false_alarms, figures, mean_roc, precision, recall
from flwr_byzantine.strategy.report import NodeReport, RoundReport

FINAL_ROUNDS = 3  # rounds that the final values are the mean of
WHOLE_RUN = ("attackers", "over_f", "skipped")  # measures whose final value is of all rounds
OF_THOSE_THERE = ("malicious_kept", "honest_dropped")  # measures of a round that has none where nobody of them takes part
MODEL_MEASURES = ("accuracy", "loss", "validation_accuracy", "attack_success")  # the others are of a round


def evaluated(rounds: int, every: int = 1) -> set[int]:
    """The rounds after which the model is evaluated: each `every`-th, the initial model, and those that `final` is of.

    Example:
        >>> sorted(evaluated(rounds=12, every=5))
        [0, 5, 10, 11, 12]
    """
    return {*range(0, rounds + 1, every), *range(max(0, rounds - FINAL_ROUNDS + 1), rounds + 1)}


@dataclass
class History:
    """One federation, round by round; NaN where there is nothing to measure, or the model was not evaluated.

    Attributes:
        accuracy, loss: on the test split; entry 0 is the initial model.
        validation_accuracy: on the validation split; entry 0 is the initial model.
        attack_success: share of the test examples that the attack wants classified otherwise, and that are, for attacks
            on the training data; entry 0 is the initial model. Empty for other attacks.
        malicious_kept: share of the malicious updates that the rule kept. Where a rule weighs instead of choosing, an
            update counts by its weight: all of it from 1/n on.
        malicious_share: share of the aggregate that malicious clients own (estimated for coordinate-wise rules).
        honest_dropped: share of the honest clients whose update was not kept.
        kappa_seen: ‖F - x̄‖² / mean ‖x_i - x̄‖² of the aggregate F, over the honest updates x_i with mean x̄.
        attackers: how many malicious clients took part.
        over_f: 1 where they were more than the rule's f, else 0; NaN without a rule.
        skipped: 1 where the model stayed as it was, since too few replies were valid for the rule, else 0.
        verdicts: for each round, what was said of each client; `precision`, `recall`, `false_alarms` and `auc` of a round, and the
            figures of `detection.SCALARS` of the run, follow from them. Empty without a rule.
        notices: what does nothing, such as an attack that says so of itself, each sentence once; no measure.
    """

    accuracy: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    attack_success: list[float] = field(default_factory=list)
    malicious_kept: list[float] = field(default_factory=list)
    malicious_share: list[float] = field(default_factory=list)
    honest_dropped: list[float] = field(default_factory=list)
    kappa_seen: list[float] = field(default_factory=list)
    attackers: list[float] = field(default_factory=list)
    over_f: list[float] = field(default_factory=list)
    skipped: list[float] = field(default_factory=list)
    verdicts: list[Round] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def measures(self) -> dict[str, list[float]]:
        """The lists over rounds by name."""
        return {item.name: list(getattr(self, item.name)) for item in fields(self) if item.name not in ("notices", "verdicts")}

    def detected(self) -> dict[str, list[float]]:
        """Precision, recall, false alarms and AUC over rounds; nothing without verdicts."""
        seen, kinds = self.verdicts, (("precision", precision), ("recall", recall), ("false_alarms", false_alarms))
        shares = {name: [figure([one]) for one in seen] for name, figure in kinds}
        return shares | {"auc": [auc(one) for one in seen]} if seen else {}

    def roc(self) -> list[float]:
        """See `detection.mean_roc`."""
        return mean_roc(self.verdicts)

    def final(self) -> dict[str, float | None]:
        """Mean of each measure over the last three rounds, the initial model apart; None where there is nothing.

        `attackers`, `over_f` and `skipped` are means over all rounds, the latter two so shares of the rounds. A round without
        attackers counts for nothing in `malicious_kept`, one without honest clients in `honest_dropped`. The figures of
        detection, where there are verdicts, are of the whole run: `detection.figures`.

        Example:
            >>> History(accuracy=[0.1, 0.5, 0.75]).final()["accuracy"]
            0.625
        """
        found = {name: _finite(value) for name, value in figures(self.verdicts).items()} if self.verdicts else {}
        return {name: _mean(self._last(name, values)) for name, values in self.measures().items()} | found

    def _last(self, name: str, values: list[float]) -> list[float]:
        if name in WHOLE_RUN:
            return values
        last = values[name in MODEL_MEASURES :][-FINAL_ROUNDS:]
        return [value for value in last if not math.isnan(value)] if name in OF_THOSE_THERE else last

    def skip_model(self) -> None:
        """Note a round after which the model is not evaluated."""
        for values in (getattr(self, name) for name in MODEL_MEASURES):
            values += [math.nan] * bool(values)

    def to_json(self) -> dict[str, list[float | None] | None]:
        """The lists with None for what is not finite, and None for an empty `attack_success`."""
        lists = self.measures() | self.detected()
        found: dict[str, Any] = {name: [_finite(value) for value in values] for name, values in lists.items()}
        return found | {"attack_success": found["attack_success"] or None}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mean(values: Sequence[float]) -> float | None:
    return _finite(sum(values) / len(values)) if values else None


@dataclass(frozen=True)
class ReplyShares:
    """How much of the honest and of the malicious replies a rule kept in one round; the values are those of `History`."""

    malicious_kept: float
    malicious_share: float
    honest_dropped: float


def shares_of_report(report: RoundReport, partition: Mapping[int, int], malicious: Container[int]) -> ReplyShares:
    """The shares by the report of a robust strategy.

    Args:
        report: of one round.
        partition: node id -> client number; nodes not in it count as honest.
        malicious: numbers of the malicious clients.

    Example:
        >>> nodes = {7: NodeReport("kept", score=1.0, weight=0.25), 8: NodeReport("kept", score=2.0, weight=0.75)}
        >>> shares_of_report(RoundReport(1, 2, 2, 2, 0, "", True, True, nodes=nodes), {7: 0, 8: 1}, {1})
        ReplyShares(malicious_kept=1.0, malicious_share=0.75, honest_dropped=0.0)
    """
    attackers = [entry for node, entry in report.nodes.items() if partition.get(node) in malicious]
    honest = [entry for node, entry in report.nodes.items() if partition.get(node) not in malicious]
    kept = [_kept(entry, report.n_valid) for entry in attackers]
    dropped = sum(entry.status != "kept" for entry in honest)
    return ReplyShares(_share(sum(kept), len(kept)), math.fsum(entry.weight for entry in attackers), _share(dropped, len(honest)))


def _kept(entry: NodeReport, n: int) -> float:
    """How much of a reply was kept: 1 or 0 by a rule that chooses by scores, else its weight in units of 1/n, at most 1."""
    if entry.status != "kept":
        return 0.0
    return 1.0 if entry.score is not None else min(1.0, entry.weight * n)


def shares_of_average(examples: Mapping[int, float], malicious: Container[int]) -> ReplyShares:
    """The shares of a plain average, which keeps every reply, weighted by its number of examples.

    Args:
        examples: client number -> its number of examples.
        malicious: numbers of the malicious clients.

    Example:
        >>> shares_of_average({0: 30, 1: 10, 2: 20}, {0}).malicious_share
        0.5
    """
    attackers = [count for client, count in examples.items() if client in malicious]
    return ReplyShares(1.0 if attackers else math.nan, _share(sum(attackers), sum(examples.values()), 0.0), 0.0)


def _share(part: float, whole: float, otherwise: float = math.nan) -> float:
    return part / whole if whole else otherwise


def kappa_seen(aggregate: Array, honest: Array) -> float:
    """‖F - x̄‖² over the mean of ‖x_i - x̄‖², NaN where the honest rows are equal or something is not finite.

    Args:
        aggregate: (d,) F.
        honest: (h, d) rows x_i.

    Source: the κ of (f, κ)-robustness, Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, AISTATS 2023.

    Example:
        >>> kappa_seen(np.array([2.0]), np.array([[0.0], [2.0]]))
        1.0
    """
    with np.errstate(all="ignore"):
        spread, apart = departures(honest, aggregate)
        found = apart / spread if spread > 0 else math.nan
    return found if math.isfinite(found) else math.nan
