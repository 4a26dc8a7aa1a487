"""The adapter of Flower's legacy API (`flwr.server.strategy`): translates proxies, results and parameters for the `Core`, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.common import EvaluateIns, EvaluateRes, FitIns, FitRes, Parameters, Scalar, ndarrays_to_parameters
from flwr.server import ClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import Strategy

from flwr_byzantine.flower.decode import decode
from flwr_byzantine.flower.replies import Reply, from_evaluate, from_failure, from_fit
from flwr_byzantine.strategy.base import RobustStrategy
from flwr_byzantine.strategy.metrics import robust_metrics

Fit = tuple[ClientProxy, FitRes]
Evaluate = tuple[ClientProxy, EvaluateRes]
MetricsFn = Callable[[list[tuple[int, dict[str, Scalar]]]], dict[str, Scalar]]
Fitted = tuple[Parameters | None, dict[str, Scalar]]
Evaluated = tuple[float | None, dict[str, Scalar]]


class RobustAggregation(RobustStrategy, Strategy):
    """Mixin: the average of the legacy strategy that follows in the list of bases is replaced by a robust rule.

    As `strategy.message.RobustAggregation`, in Flower's older terms.
    """

    def initialize_parameters(self, client_manager: ClientManager) -> Parameters | None:
        """The checkpoint's, where the run resumes one (rounds are numbered on from it), else those of the strategy below."""
        below: Any = super()
        saved = self.core.resume()
        found: Parameters | None = below.initialize_parameters(client_manager) if saved is None else _parameters(saved)
        return found

    def evaluate(self, server_round: int, parameters: Parameters) -> tuple[float, dict[str, Scalar]] | None:
        """The evaluation on the server by the strategy below."""
        below: Any = super()
        found: tuple[float, dict[str, Scalar]] | None = below.evaluate(self.core.number(server_round), parameters)
        return found

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: ClientManager) -> list[tuple[ClientProxy, FitIns]]:
        """The instructions of the strategy below, but for nodes in quarantine; remembers the model and who is asked."""
        below: Any = super()
        payloads = {str(k): data for k, data in enumerate(parameters.tensors)}
        self.core.begin(payloads, [np.array(decode(data)) for data in parameters.tensors] if self.server_update else None)
        asked = below.configure_fit(self.core.number(server_round), parameters, client_manager)
        allowed = [(proxy, given) for proxy, given in asked if self.core.allows(node_of(proxy), server_round)]
        for _, given in allowed:
            given.config.update(self.core.step.config)
        self.core.asked = [node_of(proxy) for proxy, _ in allowed]
        return allowed

    def aggregate_fit(self, server_round: int, results: list[Fit], failures: list[Fit | BaseException]) -> Fitted:
        """Inspect, aggregate, and hand the aggregate to the strategy below."""
        sources = {node_of(proxy): (proxy, result) for proxy, result in results}
        replies = [from_fit(result, node_of(proxy)) for proxy, result in results]
        failed = [from_failure(failure[1], node_of(failure[0])) for failure in failures if isinstance(failure, tuple)]
        combined = self.core.round(server_round, [*replies, *failed]) if results or failures else None
        if combined is None:
            return None, {}
        aggregate, like = _parameters(combined.arrays), sources[combined.replies[0].node]
        metrics = self._said(combined.replies, "fit_metrics_aggregation_fn")
        parameters, metrics_below = self.apply(combined.server_round, aggregate, metrics, like)
        tensors = None if parameters is None else {str(k): decode(data) for k, data in enumerate(parameters.tensors)}
        model = self.core.finish(combined, combined.arrays if parameters is aggregate else tensors)
        return (aggregate if parameters is aggregate else None if model is None else _parameters(model)), metrics_below or metrics

    def configure_evaluate(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, EvaluateIns]]:
        """The instructions of the strategy below, but for nodes in quarantine."""
        below: Any = super()
        asked = below.configure_evaluate(self.core.number(server_round), parameters, client_manager)
        return [(proxy, given) for proxy, given in asked if self.core.allows(node_of(proxy), server_round)]

    def aggregate_evaluate(self, server_round: int, results: list[Evaluate], failures: list[Evaluate | BaseException]) -> Evaluated:
        """The median of the loss and of each metric over the replies that are well formed, by way of the strategy below."""
        losses = robust_metrics([{"loss": result.loss} for _, result in results], "")
        if "loss" not in losses:
            return None, {}
        ordered = sorted(results, key=lambda item: node_of(item[0]))
        metrics = self._said([from_evaluate(result, node_of(proxy)) for proxy, result in ordered], "evaluate_metrics_aggregation_fn")
        loss, metrics_below = self.apply_evaluation(self.core.number(server_round), (float(losses["loss"]), metrics), ordered[0])
        return loss, metrics_below or metrics

    def _said(self, replies: list[Reply], name: str) -> dict[str, Any]:
        said = [(reply.source.num_examples, reply.source.metrics) for reply in replies]
        return self.metrics_of(replies, name, "", lambda function: function(said))


def node_of(proxy: ClientProxy) -> int:
    """The node id; a client id that is no number becomes one, the same in every round."""
    text = str(getattr(proxy, "node_id", proxy.cid))
    return int(text) if text.lstrip("-").isdigit() else int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _parameters(arrays: Any) -> Parameters:
    """A model by names as Flower's tensors, in its order."""
    return ndarrays_to_parameters(list(arrays.values()))
