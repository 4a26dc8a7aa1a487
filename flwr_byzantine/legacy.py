"""The same strategies for Flower's legacy API (`flwr.server.strategy`), working with `NumPyClient`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from logging import INFO, WARNING
from typing import Any, ClassVar

import numpy as np
from flwr.common import EvaluateIns, EvaluateRes, FitIns, FitRes, Parameters, Scalar, ndarrays_to_parameters
from flwr.server import ClientManager
from flwr.server import strategy as flower
from flwr.server.client_proxy import ClientProxy

from flwr_byzantine import rules
from flwr_byzantine.arrays.kernels import round_into
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate
from flwr_byzantine.flower import compat
from flwr_byzantine.flower.records import GRADIENT, REPLY
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.strategy import arguments
from flwr_byzantine.strategy.core import Core, RuleFor, reported_noise, robust_metrics
from flwr_byzantine.strategy.message import as_rule_for
from flwr_byzantine.strategy.policy import Policy
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from flwr_byzantine.strategy.resume import Durable
from flwr_byzantine.strategy.sgd import Descending
from flwr_byzantine.strategy.template import Template, decode
from flwr_byzantine.strategy.trusted import own_update

Fit = tuple[ClientProxy, FitRes]
Evaluate = tuple[ClientProxy, EvaluateRes]
MetricsFn = Callable[[list[tuple[int, dict[str, Scalar]]]], dict[str, Scalar]]


class Robust(Durable, flower.Strategy):
    """A legacy Flower strategy whose average is replaced by a robust rule; see `flwr_byzantine.Robust`.

    Args:
        rule: a rule or chain; or a function from the number of replies that arrived to one.
        strategy: the legacy Flower strategy to wrap; `FedAvg()` by default.
        policy: as for `flwr_byzantine.Robust`.

    Example:
        >>> from flwr_byzantine import legacy, rules
        >>> legacy.Robust(rules.Krum(f=2)).reports
        []
    """

    def __init__(self, rule: Rule | RuleFor, strategy: flower.Strategy | None = None, **policy: Any) -> None:
        super().__init__()
        self.strategy = flower.FedAvg() if strategy is None else strategy
        if not isinstance(self.strategy, flower.Strategy):
            raise InvalidParameter(f"legacy.Robust: strategy must be a flwr.server.strategy.Strategy, got {strategy!r}")
        self.core = Core(as_rule_for(rule), Policy(**policy), _say)
        self.template: Template | None = None
        self._sampled: list[int] = []
        self._metrics: dict[str, Any] = {}
        self._fit_fn = self._take_over("fit_metrics_aggregation_fn")
        self._evaluate_fn = self._take_over("evaluate_metrics_aggregation_fn")

    @property
    def reports(self) -> list[RoundReport]:
        """One report for each training round."""
        return self.core.reports

    def _take_over(self, name: str) -> MetricsFn | None:
        own: MetricsFn | None = getattr(self.strategy, name, None)
        if hasattr(self.strategy, name):
            setattr(self.strategy, name, lambda _metrics: self._metrics)
        return own

    def _template_of(self, payloads: Mapping[str, bytes]) -> Template:
        """What the replies must look like, and the origin of their deltas: the broadcast model."""
        return Template.of(payloads)

    def _next(self, server_round: int, blocks: list[Array]) -> list[Array]:
        """The new model from the aggregate: the aggregate."""
        return blocks

    def initialize_parameters(self, client_manager: ClientManager) -> Parameters | None:
        """The checkpoint's, where the run resumes one (rounds are numbered on from it), else the wrapped strategy's."""
        saved = self._resumed()
        return self.strategy.initialize_parameters(client_manager) if saved is None else ndarrays_to_parameters(list(saved.values()))

    def evaluate(self, server_round: int, parameters: Parameters) -> tuple[float, dict[str, Scalar]] | None:
        """The wrapped strategy's evaluation on the server."""
        return self.strategy.evaluate(server_round, parameters)

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: ClientManager) -> list[tuple[ClientProxy, FitIns]]:
        """The wrapped strategy's instructions, but for nodes in quarantine; remembers the model and who is asked."""
        server_round += self._offset
        self._broadcast = parameters
        self.template = self._template_of(_payloads(parameters))
        asked = self.strategy.configure_fit(server_round, parameters, client_manager)
        if (ledger := self.core.ledger) is not None:
            asked = [(proxy, given) for proxy, given in asked if ledger.allows(node_of(proxy), server_round)]
        self._sampled = [node_of(proxy) for proxy, _ in asked]
        return asked

    def aggregate_fit(
        self, server_round: int, results: list[Fit], failures: list[Fit | BaseException]
    ) -> tuple[Parameters | None, dict[str, Scalar]]:
        """Inspect, aggregate, delegate."""
        if self.template is None:
            raise InvalidParameter("legacy.Robust: aggregate_fit needs the model that configure_fit broadcasts; call that first")
        if not results and not failures:
            return None, {}
        server_round += self._offset
        try:
            parameters, metrics = self._aggregate(server_round, results, failures, self.template)
        finally:
            self.core.forget()
        model = self._broadcast if parameters is None else parameters
        self._save(server_round, {str(k): decode(data) for k, data in enumerate(model.tensors)})
        return parameters, metrics

    def _aggregate(
        self, server_round: int, results: list[Fit], failures: list[Fit | BaseException], template: Template
    ) -> tuple[Parameters | None, dict[str, Scalar]]:
        valid, dropped, usable = self._inspect(results, failures, template)
        replies = [usable[node][1] for node in sorted(usable)]
        examples = {node: usable[node][1].num_examples for node in usable}
        noise = reported_noise(_metrics_of(replies))
        model = [np.array(decode(data)) for data in self._broadcast.tensors]
        own = own_update(self.core.policy.server_update, server_round, model, template)
        blocks = self.core.aggregate(server_round, template, valid, dropped, own, noise, examples)
        if blocks is None:
            return None, {}
        self._metrics = self._aggregate_metrics(replies, self._fit_fn)
        proxy, reply = usable[min(usable)]
        one = FitRes(reply.status, _parameters(template, self._next(server_round, blocks)), 1, dict(self._metrics))
        parameters, metrics = self.strategy.aggregate_fit(server_round, [(proxy, one)], [])
        return (None if parameters is None else conform(parameters, template)), metrics or self._metrics

    def _inspect(
        self, results: list[Fit], failures: list[Fit | BaseException], template: Template
    ) -> tuple[dict[int, list[Array]], dict[int, NodeReport], dict[int, Fit]]:
        dropped = {node: NodeReport("missing", "no reply") for node in self._sampled}
        valid, usable = dict[int, list[Array]](), dict[int, Fit]()
        for failure in failures:
            if isinstance(failure, tuple):
                dropped[node_of(failure[0])] = NodeReport("failed", f"the client reported an error: {failure[1].status.message[:200]}")
        for proxy, reply in results:
            node = node_of(proxy)
            if node in valid:
                continue
            try:
                valid[node] = self.core.keep(template.read(_payloads(reply.parameters)))
                if self.core.policy.spill is not None:
                    reply.parameters = Parameters([], reply.parameters.tensor_type)
                usable[node] = (proxy, reply)
                dropped.pop(node, None)
            except (MalformedUpdate, AttributeError, TypeError) as error:
                dropped[node] = NodeReport("invalid", str(error))
        return valid, dropped, usable

    def configure_evaluate(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, EvaluateIns]]:
        """The wrapped strategy's instructions."""
        return self.strategy.configure_evaluate(server_round, parameters, client_manager)

    def aggregate_evaluate(
        self, server_round: int, results: list[Evaluate], failures: list[Evaluate | BaseException]
    ) -> tuple[float | None, dict[str, Scalar]]:
        """The median of the loss and of each metric over the replies that are well formed."""
        losses = robust_metrics([{"loss": reply.loss} for _, reply in results], "")
        if "loss" not in losses:
            return None, {}
        ordered = sorted(results, key=lambda item: node_of(item[0]))
        self._metrics = self._aggregate_metrics([reply for _, reply in ordered], self._evaluate_fn)
        proxy, reply = ordered[0]
        one = EvaluateRes(reply.status, float(losses["loss"]), 1, dict(self._metrics))
        loss, metrics = self.strategy.aggregate_evaluate(server_round, [(proxy, one)], [])
        return loss, metrics or self._metrics

    def _aggregate_metrics(self, replies: list[Any], own: MetricsFn | None) -> dict[str, Any]:
        """By the user's function where there is one; a reply that breaks it costs the metrics, not the run."""
        if own is None:
            return robust_metrics(_metrics_of(replies), "")
        try:
            return own([(reply.num_examples, reply.metrics) for reply in replies])
        except Exception as error:
            _say(f"metrics dropped: the metrics function raised {type(error).__name__}: {error}")
            return {}


class ByzantineSGD(Descending, Robust):
    """Byzantine-resilient SGD for `NumPyClient`s whose `fit` returns gradients; see `flwr_byzantine.ByzantineSGD`.

    Example:
        >>> from flwr_byzantine import legacy, rules
        >>> legacy.ByzantineSGD(rules.Krum(f=2), step_size=0.1).descent.gamma(0)
        0.1
    """

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: ClientManager) -> list[tuple[ClientProxy, FitIns]]:
        """As `Robust`, telling the clients that a gradient is wanted."""
        asked = super().configure_fit(server_round, parameters, client_manager)
        for _, instructions in asked:
            instructions.config[REPLY] = GRADIENT
        return asked


def _metrics_of(replies: list[Any]) -> list[dict[str, Any]]:
    return [reply.metrics if isinstance(reply.metrics, dict) else {} for reply in replies]


def node_of(proxy: ClientProxy) -> int:
    """The node id; a client id that is no number becomes one, the same in every round."""
    found = getattr(proxy, "node_id", proxy.cid)
    text = str(found)
    return int(text) if text.lstrip("-").isdigit() else int.from_bytes(text.encode()[:8], "big")


def conform(parameters: Parameters, template: Template) -> Parameters:
    """`parameters` in the model's dtypes, whatever the inner strategy made of them."""
    blocks = []
    for data, dtype in zip(parameters.tensors, template.dtypes, strict=True):
        values = decode(data).reshape(-1)
        block = np.empty(values.shape, dtype)
        round_into(values, block)
        blocks.append(block)
    return _parameters(template, blocks)


def _parameters(template: Template, blocks: list[Array]) -> Parameters:
    return ndarrays_to_parameters(list(template.unflatten(blocks).values()))


def _payloads(parameters: Parameters) -> dict[str, bytes]:
    """The legacy API has no names: tensors are known by their place."""
    return {str(k): data for k, data in enumerate(parameters.tensors)}


def _say(text: str) -> None:
    compat.log(INFO if "kept" in text else WARNING, text)


class Named(arguments.Named, Robust):
    """`Robust` over a plain FedAvg, with the arguments of Flower's legacy class of the same name."""

    like: ClassVar[type] = flower.FedAvg
    average: ClassVar[type] = flower.FedAvg


class Krum(Named):
    """Krum with Flower's legacy arguments (`num_malicious_clients`; `num_clients_to_keep` > 0 is Multi-Krum), or f."""

    like, options, make = flower.Krum, ("m",), staticmethod(arguments.keeping)


class MultiKrum(Named):
    """One-shot Multi-Krum with the legacy Krum's arguments; keeps n - f unless `num_clients_to_keep` or m says otherwise."""

    like, options, make = flower.Krum, ("m",), staticmethod(arguments.keeping_many)


class Bulyan(Named):
    """Bulyan with Flower's legacy arguments, or f; the selection is always the paper's iterated Krum."""

    like, make = flower.Bulyan, staticmethod(arguments.legacy_bulyan)


class FedMedian(Named):
    """Coordinate-wise median with FedAvg's legacy arguments; f only declares the guarantee."""

    like, make = flower.FedMedian, staticmethod(arguments.simple(rules.Median))


class FedTrimmedAvg(Named):
    """Trimmed mean with Flower's `beta`, of which int(beta n) are cut on each side, or f."""

    like, make = flower.FedTrimmedAvg, staticmethod(arguments.trimmed)


class FLTrust(Named):
    """FLTrust with FedAvg's arguments and the server's own training, `server_update`; see `flwr_byzantine.FLTrust`."""

    make, trusting = staticmethod(arguments.simple(rules.FLTrust)), True


class Mean(Named):
    """The unweighted mean of the replies that pass inspection: FedAvg without trust in num-examples, not robust."""

    make = staticmethod(arguments.simple(rules.Mean))


CATALOGUE = arguments.catalogue(Named, __name__)
globals().update(CATALOGUE)
__all__ = ["Bulyan", "ByzantineSGD", "FLTrust", "FedMedian", "FedTrimmedAvg", "Krum", "Mean", "MultiKrum", "Robust"]
__all__ += list(CATALOGUE)
