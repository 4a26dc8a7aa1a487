"""How a strategy of the Message API chooses its nodes: in time; and how a loop of the user's own over its rounds ends."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from logging import WARNING
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid

from flwr_byzantine.flower import compat
from flwr_byzantine.flower.grids import is_flowers
from flwr_byzantine.flower.presence import NodesMissing, PresentGrid
from flwr_byzantine.strategy.below import content_with
from flwr_byzantine.strategy.counting import enough, rule_or_reason

Configure = Callable[..., Iterable[Message]]


def in_time(configure: Configure) -> Configure:
    """A strategy's `configure_train` or `configure_evaluate`, which waits no longer for nodes than the policy says."""

    @functools.wraps(configure)
    def configured(self: Any, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        if isinstance(grid, PresentGrid):  # an override that calls this one is in time already
            return configure(self, server_round, arrays, config, grid)
        training = configure.__name__ == "configure_train"
        if training and is_flowers(grid):
            self._attach(grid)
        return list(_with_nodes_there(self, lambda patient: configure(self, server_round, arrays, config, patient), grid, training))

    return configured


def with_progress(start: Callable[..., Any]) -> Callable[..., Any]:
    """A subclass's `start`, which raises at its end where no round was aggregated, whatever its loop is."""

    @functools.wraps(start)
    def started(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = start(self, *args, **kwargs)
        self.require_progress()
        return result

    return started


def _with_nodes_there(strategy: Any, configure: Callable[[Any], Iterable[Message]], grid: Any, training: bool) -> Iterable[Message]:
    """The messages that `configure` makes in time, else those to the nodes that are there, or none where these are too few."""
    below, presence = strategy._below(), strategy.core.presence
    wanted = strategy._least_nodes(training)
    try:
        return configure(PresentGrid(grid, presence, wanted))
    except NodesMissing as missing:
        there, after = missing.there, f"after {strategy.node_timeout:g} s, {wanted or 'more'} are wanted"
    if there == 0 or (training and not enough(strategy.rule_at, there)):
        rule = rule_or_reason(strategy.rule_at, there)
        return _none(strategy, f"{there} nodes are there {after}, and {rule if isinstance(rule, str) else f'{rule} needs more'}", training)
    compat.log(WARNING, f"going on with the {there} nodes that are there {after}")
    presence.settled = there
    try:
        with content_with(below, there):
            return list(configure(PresentGrid(grid, presence, 0)))
    except NodesMissing:
        return _none(strategy, f"{there} nodes are there {after}, and {type(below).__name__} waits for more", training)


def _none(strategy: Any, reason: str, training: bool) -> list[Message]:
    """No messages: the round is skipped, or not evaluated."""
    compat.log(WARNING, reason)
    if training:
        strategy.core.ask([], reason)
    return []
