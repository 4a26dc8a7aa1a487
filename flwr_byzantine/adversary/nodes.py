"""Which nodes are the attackers': by their ids, or by what their replies say."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import Message
from flwr.common import FitRes

from flwr_byzantine.flower.records import partition_in

Nodes = Container[int] | Callable[[Any], bool]
UNNAMED = 'by_partition chose nobody: no reply has a "partition-id" among its metrics; let clients report it, or give node ids'


@dataclass(frozen=True)
class ByPartition:
    """Whether a reply is of one of these partitions."""

    partitions: Container[int]

    def __call__(self, reply: Message | FitRes) -> bool:
        """By the "partition-id" among its metrics."""
        return partition_in(reply) in self.partitions


def by_partition(partitions: Container[int]) -> Callable[[Message | FitRes], bool]:
    """Choose nodes by the "partition-id" that their replies carry among their metrics (node ids are random in simulation).

    Example:
        >>> from flwr.common import Code, Parameters, Status
        >>> by_partition({0, 1})(FitRes(Status(Code.OK, ""), Parameters([], ""), 10, {"partition-id": 1}))
        True
    """
    return ByPartition(partitions)


def among(nodes: Nodes, node: int, reply: Message | FitRes) -> bool:
    """Whether the sender of a reply is one of the nodes."""
    return nodes(reply) if callable(nodes) else node in nodes


def unnamed(nodes: Nodes, replies: Sequence[Message | FitRes]) -> bool:
    """Whether nodes are chosen by partition, and no reply says which it is of."""
    return isinstance(nodes, ByPartition) and bool(replies) and all(partition_in(reply) is None for reply in replies)


def partition_of(node: int, reply: Message | FitRes) -> int:
    """The partition id that a reply carries, or the id of the node that sent it."""
    told = partition_in(reply)
    return node if told is None else told
