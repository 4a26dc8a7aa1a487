"""`Robust` for Flower's Message API: any rule over any Flower strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from logging import INFO, WARNING
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result, Strategy

from flwr_byzantine.arrays.typing import Array as NDArray
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.flower import compat
from flwr_byzantine.flower.grids import Patient
from flwr_byzantine.flower.records import is_train
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.strategy.core import Core, RuleFor, reported_noise, robust_metrics
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.replies import as_record, conform, examples_of, metrics_of, payloads, read_reply, records_of
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from flwr_byzantine.strategy.resume import Durable
from flwr_byzantine.strategy.template import Template
from flwr_byzantine.strategy.trusted import own_update

MetricsFn = Callable[[list[RecordDict], str], MetricRecord]


class Robust(Durable, Strategy):
    """A Flower strategy whose average is replaced by a robust rule.

    The replies of a round are inspected one by one, aggregated by `rule`, and handed to `strategy` as one reply, so
    that sampling, evaluation and server optimisers stay Flower's. A malformed reply is dropped and named in the
    report, never raised. Metrics are the median over valid replies, unless `strategy` has a function of the user's.

    Args:
        rule: a rule or chain; or a function from the number of replies that arrived to one.
        strategy: the Flower strategy to wrap; `FedAvg()` by default.
        policy: by keyword, the fields of `Policy`: `on_infeasible`, `weighting`, `report_path`, `certificate`,
            `reply_timeout`, `grace`, `checkpoint`, `quarantine`, ...

    Attributes:
        reports: one `RoundReport` for each training round.

    Example:
        >>> from flwr_byzantine import Robust, rules
        >>> strategy = Robust(rules.chain(rules.NNM(f=2), rules.TrimmedMean(f=2)))
        >>> strategy.reports
        []
    """

    def __init__(self, rule: Rule | RuleFor, strategy: Strategy | None = None, **policy: Any) -> None:
        super().__init__()
        self.strategy = FedAvg() if strategy is None else strategy
        if not isinstance(self.strategy, Strategy):
            raise InvalidParameter(f"Robust: strategy must be a flwr.serverapp.strategy.Strategy, got {strategy!r}")
        self.core = Core(as_rule_for(rule), Policy(**policy), _say)
        self.template: Template | None = None
        self._sampled: list[int] = []
        self._read: dict[int, list[NDArray] | MalformedUpdate] = {}  # replies inspected when they arrived
        self._patient: Patient | None = None
        self._broadcast = ArrayRecord()
        self._metrics = MetricRecord()
        self._train_fn = self._take_over("train_metrics_aggr_fn")
        self._evaluate_fn = self._take_over("evaluate_metrics_aggr_fn")

    @property
    def reports(self) -> list[RoundReport]:
        """One report for each training round."""
        return self.core.reports

    def _take_over(self, name: str) -> MetricsFn | None:
        """Let the inner strategy ask us for the metrics; returns the user's function, if there is one."""
        own = getattr(self.strategy, name, None)
        if own is not None:
            setattr(self.strategy, name, lambda _contents, _key: self._metrics)
        return None if compat.is_flowers_average(own) else own

    @property
    def _weight_key(self) -> str:
        return str(getattr(self.strategy, "weighted_by_key", "num-examples"))

    def summary(self) -> None:
        """Log the rule, then the wrapped strategy's summary."""
        _say(f"robust rule at 100 replies: {self.core.rule(100)}; over {type(self.strategy).__name__}", INFO)
        self.strategy.summary()

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
        saved = self._resumed()
        arrays = initial_arrays if saved is None else ArrayRecord({name: Array(value) for name, value in saved.items()})
        self._patient = Patient(grid, self.core.policy, self.core.quorum, self._arrived)
        patient: Any = self._patient
        done = self._offset
        measure = None if evaluate_fn is None else lambda number, record: evaluate_fn(number + done, record)
        try:
            result = super().start(patient, arrays, max(0, num_rounds - done), timeout, train_config, evaluate_config, measure)
        finally:
            self._forget()
        for records in (result.train_metrics_clientapp, result.evaluate_metrics_clientapp, result.evaluate_metrics_serverapp):
            shifted = {number + done: record for number, record in records.items()}
            records.clear()
            records.update(shifted)
        self.core.require_progress()
        if done and not result.arrays:
            result.arrays = arrays
        return result

    def _arrived(self, message: Message) -> bool:
        """Inspect a reply on its arrival; true where it is valid."""
        if self.template is None or not is_train(message):
            return metrics_of(message) is not None
        try:
            self._read[id(message)] = self._take_in(message, self.template)
        except MalformedUpdate as error:
            self._read[id(message)] = error
        return not isinstance(self._read[id(message)], MalformedUpdate)

    def _take_in(self, message: Message, template: Template) -> list[NDArray]:
        """The reply's rows; where the policy spills, they are in the file from here on and the message loses its arrays."""
        try:
            return self.core.keep(read_reply(message, template))
        finally:
            if self.core.policy.spill is not None:
                empty(message)

    def _spilling(self, replies: Iterable[Message]) -> Iterable[Message]:
        """The replies, of which those that no Grid has shown us yet are taken in one by one."""
        for message in replies:
            if id(message) not in self._read:
                self._arrived(message)
            yield message

    def _forget(self) -> None:
        self._read.clear()
        self.core.forget()

    def _template_of(self, payloads: Mapping[str, bytes]) -> Template:
        """What the replies must look like, and the origin of their deltas: the broadcast model."""
        return Template.of(payloads)

    def _next(self, server_round: int, blocks: list[NDArray]) -> list[NDArray]:
        """The new model from the aggregate: the aggregate."""
        return blocks

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """The wrapped strategy's messages, but for nodes in quarantine; remembers the model and who is asked."""
        server_round += self._offset
        self._forget()
        self.template = self._template_of(payloads(arrays))
        messages = list(self.strategy.configure_train(server_round, arrays, config, grid))
        if (ledger := self.core.ledger) is not None:
            messages = [message for message in messages if ledger.allows(message.metadata.dst_node_id, server_round)]
        self._sampled = [message.metadata.dst_node_id for message in messages]
        self._broadcast = arrays
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Inspect, aggregate, delegate."""
        if self.template is None:
            raise InvalidParameter("Robust: aggregate_train needs the model that configure_train broadcasts; call that first")
        server_round += self._offset
        try:
            messages = list(replies if self.core.policy.spill is None else self._spilling(replies))
            if not messages and not self._sampled:
                return None, None
            arrays, metrics = self._aggregate(server_round, messages, self.template)
        finally:
            self._forget()
        if self.core.policy.checkpoint is not None:
            model = self._broadcast if arrays is None else arrays
            self._save(server_round, {name: array.numpy() for name, array in model.items()})
        return arrays, metrics

    def _aggregate(self, server_round: int, messages: list[Message], template: Template) -> tuple[ArrayRecord | None, MetricRecord | None]:
        valid, dropped, usable = self._inspect(messages, template)
        contents = [usable[node].content for node in sorted(usable)]
        examples = {node: examples_of(usable[node], self._weight_key) for node in usable}
        noise = reported_noise(records_of(contents))
        own = own_update(self.core.policy.server_update, server_round, self._broadcast, template)
        blocks = self.core.aggregate(server_round, template, valid, dropped, own, noise, examples)
        if blocks is None:
            return None, None
        self._metrics = self._aggregate_metrics(contents, self._train_fn)
        combined = as_record(template, self._next(server_round, blocks))
        arrays, metrics = self.strategy.aggregate_train(server_round, [self._one_reply(usable[min(usable)], combined)])
        return (None if arrays is None else conform(arrays, template)), metrics

    def _inspect(
        self, messages: list[Message], template: Template
    ) -> tuple[dict[int, list[NDArray]], dict[int, NodeReport], dict[int, Message]]:
        """Valid replies, reports on the others, and the valid messages, by node id."""
        dropped = {node: NodeReport("missing", "no reply") for node in self._sampled}
        valid, usable = dict[int, list[NDArray]](), dict[int, Message]()
        for message in messages:
            node = self._sender(message)
            if node in valid or (self._sampled and node not in self._sampled):
                dropped.setdefault(node, NodeReport("invalid", "a reply that nobody asked this node for"))
                continue
            try:
                valid[node] = self._rows(message, template)
                usable[node] = message
                dropped.pop(node, None)
            except MalformedUpdate as error:
                dropped[node] = NodeReport("failed" if message.has_error() else "invalid", str(error))
        for node in valid:
            dropped.pop(node, None)
        return valid, dropped, usable

    def _sender(self, message: Message) -> int:
        """The node that was asked, whatever the reply says of its origin, where the Grid tells."""
        asked = {} if self._patient is None else self._patient.asked
        return int(asked.get(message.metadata.reply_to_message_id, message.metadata.src_node_id))

    def _rows(self, message: Message, template: Template) -> list[NDArray]:
        found = self._read.pop(id(message), None)
        if isinstance(found, MalformedUpdate):
            raise MalformedUpdate(str(found))  # a new one: its frames would hold the round's replies until a garbage collection
        return self._take_in(message, template) if found is None else found

    def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """The wrapped strategy's messages."""
        messages = self.strategy.configure_evaluate(server_round + self._offset, arrays, config, grid)
        ledger, now = self.core.ledger, server_round + self._offset
        return [message for message in messages if ledger is None or ledger.allows(message.metadata.dst_node_id, now)]

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """The median of each metric over the replies that are well formed, by way of the wrapped strategy."""
        usable = {message.metadata.src_node_id: message for message in replies if metrics_of(message) is not None}
        if not usable:
            return None
        contents = [usable[node].content for node in sorted(usable)]
        self._metrics = self._aggregate_metrics(contents, self._evaluate_fn)
        return self.strategy.aggregate_evaluate(server_round + self._offset, [self._one_reply(usable[min(usable)], None)])

    def _aggregate_metrics(self, contents: list[RecordDict], own: MetricsFn | None) -> MetricRecord:
        """By the user's function where there is one; a reply that breaks it costs the metrics, not the run."""
        if own is None:
            return MetricRecord(robust_metrics(records_of(contents), self._weight_key))
        try:
            return own(contents, self._weight_key)
        except Exception as error:
            _say(f"metrics dropped: the metrics function raised {type(error).__name__}: {error}")
            return MetricRecord()

    def _one_reply(self, like: Message, arrays: ArrayRecord | None) -> Message:
        """A message like a valid reply, carrying the aggregate."""
        metrics = MetricRecord({**dict(self._metrics), self._weight_key: 1})
        content: dict[str, Any] = {"metrics": metrics} if arrays is None else {"arrays": arrays, "metrics": metrics}
        return compat.with_content(like, RecordDict(content))


def empty(message: Message) -> None:
    """Take the arrays out of a reply that was read; what it reports stays. Its content may be anything."""
    if message.has_content() and not message.has_error():
        try:
            rest = RecordDict({name: record for name, record in message.content.items() if not isinstance(record, ArrayRecord)})
        except Exception:  # content that does not even inflate
            rest = RecordDict()
        message.content = rest


def as_rule_for(rule: Rule | RuleFor) -> RuleFor:
    """A fixed rule as a function of n; functions as they are."""
    if isinstance(rule, Rule):
        return lambda _n: rule
    if callable(rule) and not isinstance(rule, type):
        return rule
    raise InvalidParameter(f"Robust: rule must be a rule such as rules.Krum(f=2), or a function from n to one, got {rule!r}")


def _say(text: str, level: int = WARNING) -> None:
    compat.log(INFO if "kept" in text else level, text)
