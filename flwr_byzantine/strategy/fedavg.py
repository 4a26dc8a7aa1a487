"""Flower's FedAvg of the Message API with a robust rule in place of its average: what the named strategies are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from logging import INFO

from flwr.app import Message
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine.flower import compat
from flwr_byzantine.strategy.message import MetricsFn, RobustAggregation

SAMPLING = ("fraction_train", "fraction_evaluate", "min_train_nodes", "min_evaluate_nodes", "min_available_nodes")
RECORDS = ("weighted_by_key", "arrayrecord_key", "configrecord_key", "train_metrics_aggr_fn", "evaluate_metrics_aggr_fn")


@dataclass(eq=False, repr=False)
class Sampling(FedAvg):
    """The first arguments of all Flower strategies: how many nodes take part."""

    fraction_train: float = 1.0
    fraction_evaluate: float = 1.0
    min_train_nodes: int = 2
    min_evaluate_nodes: int = 2
    min_available_nodes: int = 2


@dataclass(eq=False, repr=False)
class Records(FedAvg):
    """The last arguments of all Flower strategies: keys of the records, and functions of the user's for the metrics."""

    weighted_by_key: str = "num-examples"
    arrayrecord_key: str = "arrays"
    configrecord_key: str = "config"
    train_metrics_aggr_fn: MetricsFn | None = None  # type: ignore[assignment]  # Flower's attribute is never None, its argument may be
    evaluate_metrics_aggr_fn: MetricsFn | None = None  # type: ignore[assignment]  # as above


@dataclass(eq=False, repr=False)
class FedAvgArguments(Records, Sampling):
    """All of FedAvg's arguments, in its order."""


@dataclass(eq=False, repr=False)
class Malicious:
    """Flower's argument for f."""

    num_malicious_nodes: int = 0


class RobustFedAvg(RobustAggregation, FedAvg):
    """A Flower FedAvg that aggregates by a rule: its attributes may be read and set, its hooks overridden."""

    def __post_init__(self) -> None:
        """Let Flower have its arguments, then begin."""
        FedAvg.__init__(self, **{name: getattr(self, name) for name in (*SAMPLING, *RECORDS)})
        super().__post_init__()

    def _received(self, messages: list[Message], training: bool) -> list[Message]:
        """The replies that Flower's hook lets through; it checks nothing, since every reply is inspected by itself."""
        usable, errors = self._check_and_log_replies(messages, is_train=training, validate=False)
        return [*usable, *errors]

    def _check_and_log_replies(
        self, replies: Iterable[Message], is_train: bool, validate: bool = True
    ) -> tuple[list[Message], list[Message]]:
        """Flower's hook: the replies with content, and those with an error. What they say is in the round's report."""
        received = list(replies)
        usable = [message for message in received if not message.has_error()]
        errors = [message for message in received if message.has_error()]
        name = "aggregate_train" if is_train else "aggregate_evaluate"
        compat.log(INFO, f"{name}: received {len(usable)} results and {len(errors)} failures")
        return usable, errors
