"""A strategy's rounds on arrays, for nodes that live in its own process: no message, no bytes, the same core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.flower.codec import pack, unpack
from flwr_byzantine.flower.compat import ensure_task_identity
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.flower.spans import span
from flwr_byzantine.strategy.inspection import Combined
from flwr_byzantine.strategy.wrapper import Wrapper

Model = Mapping[str, Array]


def nodes_only(ids: Sequence[int]) -> Any:
    """A Grid of these nodes that strategies may choose from, and nothing else; this process may then make messages to them."""
    ensure_task_identity()
    return SimpleNamespace(get_node_ids=lambda: list(ids))


class InProcess:
    """Runs `Robust` or `ByzantineSGD` without Flower's loop: what a round makes of replies is what it makes of them on the wire.

    Replies are inspected, aggregated, handed to the wrapped strategy and reported as there.

    Args:
        strategy: whose rounds to run.

    Example:
        >>> import numpy as np
        >>> from flwr_byzantine import Robust, rules
        >>> server = InProcess(Robust(rules.Median()))
        >>> with server.running({"w": np.zeros(2)}):
        ...     model = server.round(1, {"w": np.zeros(2)}, {node: {"w": np.array([node, 9.0])} for node in (1, 2, 6)})
        >>> model["w"].tolist()
        [2.0, 9.0]
    """

    def __init__(self, strategy: Wrapper) -> None:
        self.strategy, self.core = strategy, strategy.core
        self._plain = type(strategy.strategy) is FedAvg

    @contextmanager
    def running(self, model: Model) -> Iterator[None]:
        """A whole run, which ends with the block.

        Args:
            model: name -> array of the first model.

        Raises:
            InfeasibleRound: at its end, where no round has changed the model.
        """
        with self.core.running(lambda: dict(model), ""):
            yield
            self.core.state.require_progress()

    @span("strategy")
    def round(self, server_round: int, model: Model, replies: Mapping[int, Model], examples: Mapping[int, int] | None = None) -> Model:
        """The next model; the same where the round was skipped.

        Args:
            server_round: from 1.
            model: name -> array of what was broadcast.
            replies: node id -> name -> array.
            examples: node id -> number of examples, of those that were sent the model; None is those who answered, with 1 each.

        Raises:
            InfeasibleRound: as the strategy does.
        """
        counts = dict.fromkeys(replies, 1) if examples is None else examples
        nodes = list(counts)
        if not self._plain:
            self.strategy.strategy.configure_train(server_round, pack(model), ConfigRecord(), nodes_only(nodes))
        self.core.begin(model, pack(model) if self.core.policy.server_update else None)
        self.core.ask(nodes)
        combined = self.core.round(server_round, [Reply(node, arrays, {}, counts[node], source=arrays) for node, arrays in replies.items()])
        if combined is None:
            return model
        made = self.core.finish(combined, self._stepped(combined), type(self.strategy.strategy).__name__)
        return model if made is None else made

    def _stepped(self, combined: Combined) -> Model | None:
        """What the wrapped strategy makes of the aggregate; plain averaging of one model is that model."""
        if self._plain:
            return combined.arrays
        like = Message(RecordDict(), dst_node_id=0, message_type="train")
        arrays, _ = self.strategy._applied(combined, pack(combined.arrays), MetricRecord(), like)
        return None if arrays is None else {name: unpack(array.data).copy() for name, array in arrays.items()}
