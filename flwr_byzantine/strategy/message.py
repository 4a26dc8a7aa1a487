"""`Robust` for Flower's Message API: any rule over any Flower strategy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from logging import INFO, WARNING
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords
from flwr.supercore import log

from flwr_byzantine import kernels
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.kernels import Array as NDArray
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.strategy.core import Core, Policy, RuleFor, reported_noise, robust_metrics
from flwr_byzantine.strategy.inspect import Template
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from flwr_byzantine.strategy.sgd import GRADIENT, REPLY, Descending

MetricsFn = Callable[[list[RecordDict], str], MetricRecord]


class Robust(Strategy):
    """A Flower strategy whose average is replaced by a robust rule.

    The replies of a round are inspected one by one, aggregated by `rule`, and handed to `strategy` as one reply, so
    that sampling, evaluation and server optimisers stay Flower's. A malformed reply is dropped and named in the
    report, never raised. Metrics are the median over valid replies, unless `strategy` has a function of the user's.

    Args:
        rule: a rule or chain; or a function from the number of replies that arrived to one.
        strategy: the Flower strategy to wrap; `FedAvg()` by default.
        policy: by keyword, the fields of `Policy`: `on_infeasible`, `weighting`, `report_path`, `certificate`.

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
        return None if own is aggregate_metricrecords else own

    @property
    def _weight_key(self) -> str:
        return str(getattr(self.strategy, "weighted_by_key", "num-examples"))

    def summary(self) -> None:
        """Log the rule, then the wrapped strategy's summary."""
        _say(f"robust rule at 100 replies: {self.core.rule(100)}; over {type(self.strategy).__name__}", INFO)
        self.strategy.summary()

    def _template_of(self, payloads: Mapping[str, bytes]) -> Template:
        """What the replies must look like, and the origin of their deltas: the broadcast model."""
        return Template.of(payloads)

    def _next(self, server_round: int, blocks: list[NDArray]) -> list[NDArray]:
        """The new model from the aggregate: the aggregate."""
        return blocks

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """The wrapped strategy's messages; remembers the model and who is asked."""
        self.template = self._template_of(_payloads(arrays))
        messages = list(self.strategy.configure_train(server_round, arrays, config, grid))
        self._sampled = [message.metadata.dst_node_id for message in messages]
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Inspect, aggregate, delegate."""
        if self.template is None:
            raise InvalidParameter("Robust: aggregate_train needs the model that configure_train broadcasts; call that first")
        messages = list(replies)
        if not messages and not self._sampled:
            return None, None
        valid, dropped, usable = self._inspect(messages, self.template)
        contents = [usable[node].content for node in sorted(usable)]
        blocks = self.core.aggregate(server_round, self.template, valid, dropped, noise=reported_noise(_records(contents)))
        if blocks is None:
            return None, None
        self._metrics = self._aggregate_metrics(contents, self._train_fn)
        record = _record(self.template, self._next(server_round, blocks))
        arrays, metrics = self.strategy.aggregate_train(server_round, [self._one_reply(usable[min(usable)], record)])
        return (None if arrays is None else conform(arrays, self.template)), metrics

    def _inspect(
        self, messages: list[Message], template: Template
    ) -> tuple[dict[int, list[NDArray]], dict[int, NodeReport], dict[int, Message]]:
        """Valid replies, reports on the others, and the valid messages, by node id."""
        dropped = {node: NodeReport("missing", "no reply") for node in self._sampled}
        valid, usable = dict[int, list[NDArray]](), dict[int, Message]()
        for message in messages:
            node = message.metadata.src_node_id
            if node in valid or (self._sampled and node not in self._sampled):
                dropped.setdefault(node, NodeReport("invalid", "a reply that nobody asked this node for"))
                continue
            try:
                valid[node] = read_reply(message, template)
                usable[node] = message
                dropped.pop(node, None)
            except MalformedUpdate as error:
                dropped[node] = NodeReport("failed" if message.has_error() else "invalid", str(error))
        for node in valid:
            dropped.pop(node, None)
        return valid, dropped, usable

    def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """The wrapped strategy's messages."""
        return self.strategy.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """The median of each metric over the replies that are well formed, by way of the wrapped strategy."""
        usable = {message.metadata.src_node_id: message for message in replies if _metrics_of(message) is not None}
        if not usable:
            return None
        contents = [usable[node].content for node in sorted(usable)]
        self._metrics = self._aggregate_metrics(contents, self._evaluate_fn)
        return self.strategy.aggregate_evaluate(server_round, [self._one_reply(usable[min(usable)], None)])

    def _aggregate_metrics(self, contents: list[RecordDict], own: MetricsFn | None) -> MetricRecord:
        """By the user's function where there is one; a reply that breaks it costs the metrics, not the run."""
        if own is None:
            return MetricRecord(robust_metrics(_records(contents), self._weight_key))
        try:
            return own(contents, self._weight_key)
        except Exception as error:
            _say(f"metrics dropped: the metrics function raised {type(error).__name__}: {error}")
            return MetricRecord()

    def _one_reply(self, like: Message, arrays: ArrayRecord | None) -> Message:
        """A message like a valid reply, carrying the aggregate."""
        metrics = MetricRecord({**dict(self._metrics), self._weight_key: 1})
        message = copy.copy(like)
        content: dict[str, Any] = {"metrics": metrics} if arrays is None else {"arrays": arrays, "metrics": metrics}
        message.__dict__ = {**like.__dict__}
        message.content = RecordDict(content)
        return message


class ByzantineSGD(Descending, Robust):
    """Byzantine-resilient SGD: clients answer with gradients, w_{k+1} = w_k - γ_k F(V_1, ..., V_n), k = round - 1.

    Clients answer with one stochastic gradient at the broadcast model (`client.gradient_reply`); `rule` aggregates what
    passes inspection. When the guarantee holds and what it promises is in `flwr_byzantine.theory`.

    Args:
        rule: a rule or chain; or a function from the number of replies that arrived to one.
        step_size: γ, or a function from k = 0, 1, ... to γ_k such as `theory.InverseRoot` or `theory.Polynomial`.
        momentum: μ of the server's heavy-ball momentum, m_k = μ m_{k-1} + F, in [0, 1).
        strategy: samples and evaluates; a Flower strategy, `FedAvg()` by default.
        policy: as for `Robust`.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017; Roberts, Smyth, EURO J. Comput. Optim. 2022.

    Example:
        >>> from flwr_byzantine import rules, theory
        >>> strategy = ByzantineSGD(rules.Krum(f=2), step_size=theory.InverseRoot(0.5, K=100), certificate=True)
        >>> round(strategy.descent.gamma(0), 3)
        0.05
    """

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """As `Robust`, telling the clients that a gradient is wanted."""
        config[REPLY] = GRADIENT
        return super().configure_train(server_round, arrays, config, grid)


def as_rule_for(rule: Rule | RuleFor) -> RuleFor:
    """A fixed rule as a function of n; functions as they are."""
    if isinstance(rule, Rule):
        return lambda _n: rule
    if callable(rule) and not isinstance(rule, type):
        return rule
    raise InvalidParameter(f"Robust: rule must be a rule such as rules.Krum(f=2), or a function from n to one, got {rule!r}")


def read_reply(message: Message, template: Template) -> list[NDArray]:
    """The reply's arrays, flat, in the model's order.

    Raises:
        MalformedUpdate: an error reply, or content unlike the model.
    """
    if message.has_error():
        raise MalformedUpdate(f"the client reported an error: {(message.error.reason or 'no reason given')[:200]}")
    try:
        records = list(message.content.array_records.values())
        payloads = [_payloads(record) for record in records]
    except Exception as error:  # content that does not even inflate
        raise MalformedUpdate(f"expected an ArrayRecord, got content that raises {type(error).__name__}") from None
    if len(payloads) != 1:
        raise MalformedUpdate(f"expected one ArrayRecord, got {len(payloads)}")
    return template.read(payloads[0])


def conform(arrays: ArrayRecord, template: Template) -> ArrayRecord:
    """`arrays` in the model's order, shapes and dtypes, whatever the inner strategy made of them."""
    types = [array.dtype for array in arrays.values()]
    if list(arrays) == template.names and types == [str(dtype) for dtype in template.dtypes]:
        return arrays
    blocks = []
    for name, dtype in zip(template.names, template.dtypes, strict=True):
        values = arrays[name].numpy().reshape(-1)
        block = np.empty(values.shape, dtype)
        kernels.store(values, block)
        blocks.append(block)
    return _record(template, blocks)


def _record(template: Template, blocks: list[NDArray]) -> ArrayRecord:
    return ArrayRecord({name: Array(value) for name, value in template.unflatten(blocks).items()})


def _payloads(record: ArrayRecord) -> dict[str, bytes]:
    return {name: array.data for name, array in record.items()}


def _records(contents: list[RecordDict]) -> list[dict[str, Any]]:
    return [dict(record) for content in contents for record in list(content.metric_records.values())[:1]]


def _metrics_of(message: Message) -> MetricRecord | None:
    if message.has_error() or not message.has_content():
        return None
    records = list(message.content.metric_records.values())
    return records[0] if len(records) == 1 else None


def _say(text: str, level: int = WARNING) -> None:
    log(INFO if "kept" in text else level, "flwr-byzantine: %s", text)
