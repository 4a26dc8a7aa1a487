"""The adapter of Flower's Message API: translates messages and records for the `Core`, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from logging import INFO
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.flower import compat, console, loops
from flwr_byzantine.flower.codec import pack
from flwr_byzantine.flower.grids import QuorumGrid
from flwr_byzantine.flower.patience import Patience
from flwr_byzantine.flower.records import is_train
from flwr_byzantine.flower.replies import Reply, from_message, with_distinct_nodes
from flwr_byzantine.strategy.base import RobustStrategy
from flwr_byzantine.strategy.choosing import in_time, with_progress
from flwr_byzantine.strategy.counting import in_words
from flwr_byzantine.strategy.draws import OrderedGrid
from flwr_byzantine.strategy.inspection import rows_or_reason

MetricsFn = Callable[[list[RecordDict], str], MetricRecord]
Aggregated = tuple[ArrayRecord | None, MetricRecord | None]


class RobustAggregation(RobustStrategy, Strategy):
    """Mixin: the average of the Message API strategy that follows in the list of bases is replaced by a robust rule.

    A final class says how the rule follows from the number of replies (`rule_at`), and may say what becomes of the aggregate
    (`_apply`, `_apply_evaluation`). Hooks of Flower's that a subclass overrides are called as Flower calls them.
    """

    _grid: QuorumGrid | None = None  # of the run that is under way
    _attached: QuorumGrid | None = None  # of a loop that is not this strategy's own

    def __init_subclass__(cls) -> None:
        """Let what chooses nodes in a subclass wait for them no longer than the policy says, and its `start` end as the one here does."""
        super().__init_subclass__()
        if "start" in vars(cls):
            type.__setattr__(cls, "start", with_progress(vars(cls)["start"]))
        for name in ("configure_train", "configure_evaluate"):
            if not hasattr(getattr(cls, name), "__wrapped__"):
                type.__setattr__(cls, name, in_time(getattr(cls, name)))

    def _received(self, messages: list[Message], training: bool) -> list[Message]:
        """The replies that reach inspection: all of them, unless the strategy below filters. Logs how many have come.

        Args:
            messages: as the Grid gave them.
            training: whether they answer a training message, or an evaluation.
        """
        failures = sum(message.has_error() for message in messages)
        name = "aggregate_train" if training else "aggregate_evaluate"
        compat.log(INFO, f"{name}: received {len(messages) - failures} results and {failures} failures")
        return messages

    def summary(self) -> None:
        """Log the rule and how replies are weighted, then the summary of the strategy below."""
        if (grid := loops.grid_of_loop()) is not None:  # another strategy's loop, before its first exchange
            self._attach(grid)
        compat.log(INFO, f"robust rule: {in_words(self.rule_at)}; over {type(self._below()).__name__}")
        uniform = "uniform; what clients say of their number of examples counts for nothing"
        capped = f"by {self._examples_key()!r}, of which at most twice the median counts"
        compat.log(INFO, f"weighting: {uniform if self.weighting == 'uniform' else capped}")
        below: Any = super()
        with console.without_lines(console.WEIGHTED):
            below.summary()

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """As Flower's; goes on from the checkpoint where there is one, and waits for nobody longer than the policy says.

        Raises:
            InfeasibleRound: too many rounds were skipped in a row, or all of them.
        """
        self._grid = self._watched(grid)
        watched: Any = self._grid
        with self.core.running(lambda: _arrays(initial_arrays), compat.app_of(grid)) as saved:
            arrays, done = initial_arrays if saved is None else pack(saved), self.core.number(0)
            evaluate = None if evaluate_fn is None else lambda number, record: self._on_server(number, evaluate_fn(number + done, record))
            left = self.core.rounds_left(num_rounds)
            try:
                result = super().start(watched, arrays, left, timeout, train_config, evaluate_config, evaluate)
            finally:
                self._grid.end()
                self._grid = None
            self.core.state.require_progress()
        return _renumbered(result, done, arrays)

    def _watched(self, grid: Any) -> QuorumGrid:
        """What stands between a run's loop and its Grid."""
        return QuorumGrid(grid, self._patience, self._sent, self._arrived)

    @in_time
    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """The messages of the strategy below, but for nodes in quarantine; remembers the model and who is asked."""
        below: Any = super()
        self._opens(server_round)
        self.core.begin(_payloads(arrays), arrays)
        number = self.core.number(server_round)
        config.update(self.core.step.told(number))
        with self.core.state.draws.of("train", number) as begin:
            return self._asked(server_round, list(below.configure_train(number, arrays, config, OrderedGrid(grid, begin))), grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Aggregated:
        """Inspect, aggregate, and hand the aggregate to the strategy below."""
        received = self._replies(replies, training=True)
        combined = self.core.round(server_round, received, self.core.nobody) if received or self.core.asked or self.core.nobody else None
        if combined is None:
            return None, None
        aggregate, like = pack(combined.arrays), combined.replies[0].source
        metrics = self._round_metrics(combined.replies, "train_metrics_aggr_fn")
        arrays, metrics_below = self._applied(combined, aggregate, metrics, like)
        untouched = arrays is aggregate
        made = combined.arrays if untouched else None if arrays is None else _arrays(arrays)
        model = self.core.finish(combined, made, type(self._below()).__name__)
        return (aggregate if untouched and not combined.state else None if model is None else pack(model)), metrics_below

    @in_time
    def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """The messages of the strategy below, but for nodes in quarantine."""
        below: Any = super()
        number = self.core.number(server_round)
        with self.core.state.draws.of("evaluate", number) as begin:
            messages = self._allowed(server_round, below.configure_evaluate(number, arrays, config, OrderedGrid(grid, begin)))
        self.core.evaluating = [message.metadata.dst_node_id for message in messages]
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """The median of each metric over the replies that are well formed, by way of the strategy below."""
        ordered = self.core.evaluated(server_round, self._replies(replies, training=False))
        if not ordered:
            return None
        metrics = self._round_metrics(ordered, "evaluate_metrics_aggr_fn")
        found: MetricRecord | None = self._apply_evaluation(self.core.number(server_round), metrics, ordered[0].source)
        self.core.note_evaluation(server_round, "clients", found)
        return found

    def _on_server(self, server_round: int, metrics: MetricRecord | None) -> MetricRecord | None:
        self.core.note_evaluation(server_round, "server", metrics)
        return metrics

    def _allowed(self, server_round: int, messages: Iterable[Message]) -> list[Message]:
        return [message for message in messages if self.core.allows(message.metadata.dst_node_id, server_round)]

    def _asked(self, server_round: int, messages: list[Message], grid: Any) -> list[Message]:
        """The training messages but for nodes in quarantine, to others in place of nodes that were silent; notes who is asked."""
        there = grid.get_node_ids() if self.core.state.skipped and grid is not None else []
        instead = self.core.substitutes(server_round, [message.metadata.dst_node_id for message in messages], there)
        for message in messages:
            node = message.metadata.dst_node_id
            compat.set_metadata(message, dst_node_id=instead.get(node, node))
        allowed = self._allowed(server_round, messages)
        self.core.ask([message.metadata.dst_node_id for message in allowed], "all nodes sampled are in quarantine" if messages else "")
        return allowed

    def _examples_key(self) -> str:
        return str(getattr(self._below(), "weighted_by_key", "num-examples"))

    def _round_metrics(self, replies: list[Reply], name: str) -> MetricRecord:
        key, contents = self._examples_key(), [reply.source.content for reply in replies]
        return MetricRecord(self._metrics_of(replies, name, key, lambda function: function(contents, key)))

    def _replies(self, messages: Iterable[Message], training: bool) -> list[Reply]:
        """The replies in the core's form; under `spill=` each loses its arrays before the next one is asked for."""
        replies = []
        for message in chain(messages, self._held_back()):
            replies.append(self._reply(message, training))
            if training and self.spill is not None:
                self.core.arrived(replies[-1])
        kept = {id(message) for message in self._received([reply.source for reply in replies], training)}
        return with_distinct_nodes([reply for reply in replies if id(reply.source) in kept], bool(self.core.asked) or not training)

    def _reply(self, message: Message, training: bool) -> Reply:
        return from_message(message, message.metadata.src_node_id, self._examples_key(), training)

    def _attach(self, grid: Any) -> None:
        """In a loop that is not this strategy's own, let the Grid keep replies that cannot be used from all but this strategy."""
        known = self._attached is not None and self._attached.grid is grid
        if self._grid is None and grid is not None and not known:
            self._attached = QuorumGrid(grid, self._patience, self._sent, self._fits)
            self._attached.attach()

    def _held_back(self) -> list[Message]:
        """Replies that the loop has not seen; each once."""
        return [] if self._attached is None or self._grid is not None else self._attached.held_back()

    def _patience(self, sent: list[Message], limit: float) -> Patience:
        return self.core.patience(len(sent), is_train(sent[0]), limit)

    def _sent(self, messages: list[Message]) -> list[Message]:
        """The messages but for nodes in quarantine; notes who is asked, and with which model.

        A subclass may have made them without `configure_train`.
        """
        training = is_train(messages[0])
        record = next(iter(messages[0].content.array_records.values()), None) if training else None
        if record is not None and record is not self.core.broadcast:
            self.core.begin(_payloads(record), record)
        current = self.core.current(training)
        if training:
            return self._asked(current, messages, self._grid)
        allowed = self._allowed(current, messages)
        self.core.evaluating = [message.metadata.dst_node_id for message in allowed]
        return allowed

    def _fits(self, message: Message) -> bool:
        """Whether a reply can be used, as far as is known before others may have changed it."""
        training = self.core.template is not None and is_train(message)
        reply = self._reply(message, training)
        if training and self.core.template is not None:
            return not isinstance(rows_or_reason(reply, self.core.template), str)
        return reply.metrics is not None

    def _arrived(self, message: Message) -> bool:
        """Inspect a reply on its arrival; whether it counts towards the quorum."""
        training = self.core.template is not None and is_train(message)
        reply = self._reply(message, training)
        return self.core.arrived(reply) if training else reply.metrics is not None


def _arrays(record: ArrayRecord) -> dict[str, Array]:
    return {name: array.numpy() for name, array in record.items()}


def _payloads(record: ArrayRecord) -> dict[str, bytes]:
    return {name: array.data for name, array in record.items()}


def _renumbered(result: Result, done: int, arrays: ArrayRecord) -> Result:
    """The result with the rounds of the resumed run counted, and its model where no round was left."""
    for records in (result.train_metrics_clientapp, result.evaluate_metrics_clientapp, result.evaluate_metrics_serverapp):
        shifted = {number + done: record for number, record in records.items()}
        records.clear()
        records.update(shifted)
    result.arrays = arrays if done and not result.arrays else result.arrays
    return result
