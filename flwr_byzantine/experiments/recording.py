"""A Grid that keeps the replies of a round, so that what a rule made of them can be measured."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from typing import Any, cast

import numpy as np
from flwr.app import Message, MetricRecord
from flwr.serverapp import Grid

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.experiments.detection import Verdict, verdicts
from flwr_byzantine.experiments.measures import ReplyShares, kappa_seen, shares_of_average, shares_of_report
from flwr_byzantine.flower.codec import flat
from flwr_byzantine.flower.grids import wait_for_all
from flwr_byzantine.flower.records import is_train, partition_in
from flwr_byzantine.strategy.report import RoundReport


class RecordingGrid:
    """A Grid that sees the training replies of a round as the strategy gets them, in the order of the client numbers.

    Args:
        grid: the Grid to wrap, attacks included; everything but `send_and_receive` is its own.
        malicious: numbers of the malicious clients; replies say theirs in the metric "partition-id".

    Attributes:
        partition: node id -> client number.
        answers: training replies with a model, over all rounds.
        error: reason of the last error reply.
        replies: usable replies of the last training round, by client number.

    Example:
        >>> from flwr.clientapp import ClientApp
        >>> from flwr_byzantine.flower.local import LocalGrid
        >>> RecordingGrid(LocalGrid(ClientApp(), 3), {0}).get_node_ids()
        [1, 2, 3]
    """

    def __init__(self, grid: Grid | Any, malicious: Container[int]) -> None:
        self.grid, self.malicious = grid, malicious
        self.partition: dict[int, int] = {}
        self.answers, self.error = 0, ""
        self.replies: dict[int, Message] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send and receive; replies come in the order of the client numbers, on every engine, since floating-point sums depend on it."""
        sent = list(messages)
        replies = wait_for_all(self.grid, sent, timeout)
        if not sent or not is_train(sent[0]):
            return replies
        self.replies = {}
        for reply in replies:
            self._note(reply)
        return sorted(replies, key=lambda reply: self.partition.get(reply.metadata.src_node_id, -1))

    def _note(self, reply: Message) -> None:
        if reply.has_error():
            self.error = reply.error.reason or "an error without a reason"
        elif (client := partition_in(reply)) is not None:
            self.answers += 1
            self.partition[reply.metadata.src_node_id] = client
            self.replies[client] = reply

    @property
    def attackers(self) -> int:
        """How many malicious clients answered in the last round."""
        return sum(client in self.malicious for client in self.replies)

    def shares(self, report: RoundReport | None) -> ReplyShares:
        """The shares of the last round, by the strategy's report; None stands for a plain average."""
        if report is not None:
            return shares_of_report(report, self.partition, self.malicious)
        metrics = {client: cast(MetricRecord, reply.content["metrics"]) for client, reply in self.replies.items()}
        return shares_of_average({client: float(cast(int, record["num-examples"])) for client, record in metrics.items()}, self.malicious)

    def verdicts(self, report: RoundReport) -> list[Verdict]:
        """Who was left out of the last round."""
        return verdicts(report, self.partition, self.malicious)

    def kappa(self, aggregate: Array) -> float:
        """`kappa_seen` of the last round, of the (d,) aggregate: a model where the clients send models, else a gradient."""
        honest = [self.replies[client] for client in sorted(self.replies) if client not in self.malicious]
        if not honest:
            return math.nan
        return kappa_seen(aggregate, np.array([flat(next(iter(reply.content.array_records.values()))) for reply in honest]))
