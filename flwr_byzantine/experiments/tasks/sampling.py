"""Flower's averaging for the clients of the round: whom its messages go to."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, FedAvgM

from flwr_byzantine.errors import ByzantineError
from flwr_byzantine.experiments.tasks.participation import WHO, Cohort
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.flower.codec import FastArray
from flwr_byzantine.flower.grids import wait_for_all
from flwr_byzantine.flower.records import partition_in


def average(task: Task, cohort: Cohort, **keys: str) -> FedAvg:
    """Flower's FedAvg for the clients of each round, or where they send models and the server has a step of its own, FedAvgM.

    Args:
        task: how many clients take part, and how the server steps.
        cohort: who takes part; the nodes of the strategy's Grid, which is a `Present`.
        keys: of the records in the messages, as the strategies take them.
    """
    options: dict[str, Any] = {"fraction_evaluate": 0.0, "min_evaluate_nodes": 0, **keys}
    options |= dict.fromkeys(("min_train_nodes", "min_available_nodes"), task.per_round)
    return _FedAvgM(cohort, **options, **_server(task)) if task.server_step else _FedAvg(cohort, **options)


def below_of(task: Task) -> FedAvg:
    """The same strategies where nobody is sampled, for replies that are there already."""
    options: dict[str, Any] = {"fraction_evaluate": 0.0, "min_evaluate_nodes": 0, "min_train_nodes": 1, "min_available_nodes": 1}
    return FedAvgM(**options, **_server(task)) if task.server_step else FedAvg(**options)


def _server(task: Task) -> dict[str, Any]:
    return {"server_momentum": task.server_momentum, "server_learning_rate": task.server_lr}


def client_numbers(grid: Any, task: Task) -> dict[int, int]:
    """Node id -> client number, as each node answers to a query; the order of their ids where one does not say; {} where all take part."""
    nodes = sorted(wait_for_nodes(grid, task.num_clients))
    if task.per_round == len(nodes):
        return {}
    replies = wait_for_all(grid, [Message(RecordDict(), node, f"{MessageType.QUERY}.{WHO}") for node in nodes], None)
    known = {reply.metadata.src_node_id: partition_in(reply) for reply in replies if not reply.has_error()}
    told = {node: client for node, client in known.items() if client is not None}
    return told if len(told) == len(nodes) else {node: number for number, node in enumerate(nodes)}


def wait_for_nodes(grid: Grid, count: int, timeout: float = 120.0) -> list[int]:
    """Node ids once `count` nodes are there: in simulation the server starts before they are registered.

    Raises:
        ByzantineError: fewer came within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while len(found := list(grid.get_node_ids())) < count:
        if time.monotonic() > deadline:
            raise ByzantineError(f"expected {count} nodes, only {len(found)} registered within {timeout:.0f} s; check num-supernodes")
        time.sleep(0.1)
    return found


class Present:
    """A Grid whose nodes are those of the round's clients: nobody else is sampled, nor asked in place of those who were silent.

    Args:
        grid: the Grid to wrap; everything else is its own.
        cohort: who takes part.
        numbers: node id -> client number; empty where all take part in each round.

    Example:
        >>> from flwr.clientapp import ClientApp
        >>> from flwr_byzantine.flower.local import LocalGrid
        >>> cohort = Cohort(Task(num_clients=3, clients_per_round=1), attacked=False)
        >>> cohort.begin(1)
        >>> Present(LocalGrid(ClientApp(), 3), cohort, {1: 0, 2: 1, 3: 2}).get_node_ids()
        [2]
    """

    def __init__(self, grid: Any, cohort: Cohort, numbers: Mapping[int, int]) -> None:
        self.grid, self.cohort, self.numbers = grid, cohort, numbers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grid, name)

    def get_node_ids(self) -> list[int]:
        """The nodes of the round under way."""
        nodes = list(self.grid.get_node_ids())
        return [node for node in nodes if self.numbers.get(node) in self.cohort.participants] if self.numbers else nodes


class _Sampling(FedAvg):
    """Mixin: a Flower strategy whose rounds begin a cohort's.

    The average is the same, bit for bit, without reading npy headers, most of its time in small models.
    """

    def __init__(self, cohort: Cohort, **options: Any) -> None:
        super().__init__(**options)
        self.cohort = cohort

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """The messages to those who take part."""
        self.cohort.begin(server_round)
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Flower's."""
        received = list(replies)
        for record in (record for reply in received if reply.has_content() for record in reply.content.values()):
            if isinstance(record, ArrayRecord):
                FastArray.make(record)
        return super().aggregate_train(server_round, received)


class _FedAvg(_Sampling):
    """Flower's FedAvg."""


class _FedAvgM(_Sampling, FedAvgM):
    """Flower's FedAvg with a learning rate and momentum of the server's."""
