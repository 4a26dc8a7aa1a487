"""The plain average, which nothing withstands, as a server in process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.flower.codec import pack, unpack
from flwr_byzantine.flower.spans import span
from flwr_byzantine.strategy.in_process import nodes_only

Model = Mapping[str, Array]


class Average:
    """Flower's average in process, by its own code.

    Args:
        below: the strategy.
    """

    def __init__(self, below: FedAvg) -> None:
        self.below = below

    @contextmanager
    def running(self, now: Model) -> Iterator[None]:
        """A whole run."""
        yield

    @span("strategy")
    def round(self, number: int, now: Model, replies: Mapping[int, Model], counts: Mapping[int, int]) -> Model:
        """The next model, from node id -> model and node id -> number of examples."""
        messages = self.below.configure_train(number, pack(now), ConfigRecord(), nodes_only(list(replies)))
        answers = [_reply(message, replies, counts) for message in messages]
        arrays, _ = self.below.aggregate_train(number, sorted(answers, key=lambda reply: reply.metadata.src_node_id))
        return now if arrays is None else {name: unpack(array.data).copy() for name, array in arrays.items()}


def _reply(message: Message, replies: Mapping[int, Model], counts: Mapping[int, int]) -> Message:
    node = message.metadata.dst_node_id
    content = RecordDict({"arrays": pack(replies[node]), "metrics": MetricRecord({"num-examples": counts[node]})})
    return Message(content=content, reply_to=message)
