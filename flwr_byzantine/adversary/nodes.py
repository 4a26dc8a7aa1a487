"""Which nodes are the attackers': by their ids, or by what their replies say."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from flwr.app import Message
from flwr.common import FitRes

from flwr_byzantine.flower.records import partition_in

Nodes = Container[int] | Callable[[Any], bool]


def by_partition(partitions: Container[int]) -> Callable[[Message | FitRes], bool]:
    """Choose nodes by the "partition-id" that their replies carry among their metrics (node ids are random in simulation).

    Example:
        >>> from flwr.common import Code, Parameters, Status
        >>> by_partition({0, 1})(FitRes(Status(Code.OK, ""), Parameters([], ""), 10, {"partition-id": 1}))
        True
    """
    return lambda reply: partition_in(reply) in partitions


def among(nodes: Nodes, node: int, reply: Message | FitRes) -> bool:
    """Whether the sender of a reply is one of the nodes."""
    return nodes(reply) if callable(nodes) else node in nodes


def partition_of(node: int, reply: Message | FitRes) -> int:
    """The partition id that a reply carries, or the id of the node that sent it."""
    told = partition_in(reply)
    return node if told is None else told
