"""The adapter of Flower's legacy API (`flwr.server.strategy`): translates proxies, results and parameters for the `Core`, and back."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from logging import WARNING
from typing import Any

import numpy as np
from flwr.app import Message
from flwr.common import EvaluateIns, EvaluateRes, FitIns, FitRes, Parameters, Scalar, ndarrays_to_parameters
from flwr.server import ClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import Strategy

from flwr_byzantine.errors import InfeasibleRound
from flwr_byzantine.flower import compat
from flwr_byzantine.flower.decode import decode
from flwr_byzantine.flower.grids import LONGEST, QuorumGrid
from flwr_byzantine.flower.patience import LONG, SHORTEST, Patience
from flwr_byzantine.flower.presence import PresentManager
from flwr_byzantine.flower.records import is_train
from flwr_byzantine.flower.replies import Reply, from_error, from_evaluate, from_failure, from_fit, from_legacy, with_distinct_nodes
from flwr_byzantine.strategy.base import RobustStrategy
from flwr_byzantine.strategy.below import objection
from flwr_byzantine.strategy.counting import enough
from flwr_byzantine.strategy.draws import OrderedClients
from flwr_byzantine.strategy.inspection import rows_or_reason
from flwr_byzantine.strategy.metrics import robust_metrics

ConfigureFit = Callable[..., list[tuple[ClientProxy, FitIns]]]
UNCHECKED = (
    "no initial_parameters: Flower takes the first model of one random client, and nobody checks it; a hostile one decides where training "
    "begins, and whether it can. Pass initial_parameters="
)
Fit = tuple[ClientProxy, FitRes]
Evaluate = tuple[ClientProxy, EvaluateRes]
MetricsFn = Callable[[list[tuple[int, dict[str, Scalar]]]], dict[str, Scalar]]
Fitted = tuple[Parameters | None, dict[str, Scalar]]
Evaluated = tuple[float | None, dict[str, Scalar]]


class RobustAggregation(RobustStrategy, Strategy):
    """Mixin: the average of the legacy strategy that follows in the list of bases is replaced by a robust rule.

    As `strategy.message.RobustAggregation`, in Flower's older terms.
    """

    _parameters: Parameters | None = None  # of the last model that was sent
    _clock: Patience | None = None  # of the exchange that is under way
    _grid: QuorumGrid | None = None  # through which Flower's loop sends and receives

    def initialize_parameters(self, client_manager: ClientManager) -> Parameters | None:
        """The checkpoint's, where the run resumes one (rounds are numbered on from it), else those of the strategy below.

        Raises:
            InfeasibleRound: there are none, and no client has come in time of which Flower could ask them.
        """
        below: Any = super()
        self._attach(getattr(client_manager, "all", dict)().values())
        given: Parameters | None = below.initialize_parameters(client_manager)
        tensors = None if given is None else given.tensors
        saved = self.core.resume(None if tensors is None else lambda: {str(k): decode(data) for k, data in enumerate(tensors)})
        if given is None and saved is None:
            if not self._patient(client_manager, training=False).wait_for(1):
                raise InfeasibleRound(f"no client has connected in {self.node_timeout:g} s, and the strategy has no initial_parameters")
            compat.log(WARNING, UNCHECKED)
        return given if saved is None else _parameters(saved)

    def evaluate(self, server_round: int, parameters: Parameters) -> tuple[float, dict[str, Scalar]] | None:
        """The evaluation on the server by the strategy below."""
        below: Any = super()
        found: tuple[float, dict[str, Scalar]] | None = below.evaluate(self.core.number(server_round), parameters)
        if found is not None:
            self.core.note_evaluation(server_round, "server", {"loss": found[0], **found[1]})
        return found

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: ClientManager) -> list[tuple[ClientProxy, FitIns]]:
        """The instructions of the strategy below, but for nodes in quarantine; remembers the model and who is asked."""
        below: Any = super()
        client_manager = self._patient(client_manager, training=True)
        self._begin(parameters)
        number = self.core.number(server_round)
        with self.core.state.draws.of("train", number) as begin:
            patient = client_manager.over(OrderedClients(client_manager.manager, begin))
            return self._sent(server_round, below.configure_fit(number, parameters, patient), patient)

    def __init_subclass__(cls) -> None:
        """Note what a subclass's own `configure_fit` sends, which may not call the one here."""
        super().__init_subclass__()
        own = vars(cls).get("configure_fit")
        if own is not None:
            type.__setattr__(cls, "configure_fit", _noted(own))

    def _begin(self, parameters: Parameters) -> None:
        payloads = {str(k): data for k, data in enumerate(parameters.tensors)}
        shown = [np.array(decode(data)) for data in parameters.tensors] if self.server_update else None
        self.core.begin(payloads, shown)
        self._parameters = parameters

    def _sent(
        self, server_round: int, asked: Sequence[tuple[ClientProxy, FitIns]], client_manager: PresentManager
    ) -> list[tuple[ClientProxy, FitIns]]:
        """The instructions but for nodes in quarantine, others in place of nodes that were silent; notes who is asked, and with what."""
        self._opens(server_round)
        if asked and asked[0][1].parameters is not self._parameters:
            self._begin(asked[0][1].parameters)
        there = {node_of(proxy): proxy for proxy in client_manager.all().values()} if self.core.state.skipped else {}
        instead = self.core.substitutes(server_round, [node_of(proxy) for proxy, _ in asked], there)
        asked = [(there[instead[node_of(proxy)]] if node_of(proxy) in instead else proxy, given) for proxy, given in asked]
        allowed = [(proxy, given) for proxy, given in asked if self.core.allows(node_of(proxy), server_round)]
        for _, given in allowed:
            given.config.update(self.core.step.told(self.core.number(server_round)))
        nobody = "all clients sampled are in quarantine" if asked else client_manager.short
        self.core.ask([node_of(proxy) for proxy, _ in allowed], nobody)
        own = self.core.state.own
        if self.core.nobody and not (own and own[-1].server_round == self.core.number(server_round)):
            self.core.round(server_round, [], nobody)  # Flower calls no other hook in a round in which nobody is asked
        self.core.of_app(next((compat.app_of(grid) for grid in compat.grids_of(proxy for proxy, _ in allowed)), ""))
        self._begin_exchange([proxy for proxy, _ in allowed], training=True)
        return allowed

    def _patient(self, manager: ClientManager, training: bool) -> PresentManager:
        """A client manager that waits no longer for clients than the policy says, nor for more than are enough."""
        if isinstance(manager, PresentManager):
            return manager
        return PresentManager(manager, self.core.presence, lambda n: enough(self.rule_at, n) if training else n > 0)

    def aggregate_fit(self, server_round: int, results: list[Fit], failures: list[Fit | BaseException]) -> Fitted:
        """Inspect, aggregate, and hand the aggregate to the strategy below, unless that accepts no failures and there are some.

        Raises:
            InfeasibleRound: too many rounds in a row, or all of them, have left the model as it was.
        """
        replies = [from_fit(result, node_of(proxy)) for proxy, result in results]
        failed = [from_failure(failure[1], node_of(failure[0])) for failure in failures if isinstance(failure, tuple)]
        received = with_distinct_nodes([*replies, *failed, *self._refused()], bool(self.core.asked))
        veto = objection(self._below(), "completion_rate_fit", len(results), len(failures))
        combined = self.core.round(server_round, received, veto) if results or failures or self.core.asked else None
        if combined is None:
            return None, {}
        aggregate, first = _parameters(combined.arrays), combined.replies[0].source
        like = next((proxy, result) for proxy, result in results if result is first)
        metrics = self._said(combined.replies, "fit_metrics_aggregation_fn")
        parameters, metrics_below = self._applied(combined, aggregate, metrics, like)
        tensors = None if parameters is None else {str(k): decode(data) for k, data in enumerate(parameters.tensors)}
        model = self.core.finish(combined, combined.arrays if parameters is aggregate else tensors, type(self._below()).__name__)
        untouched = parameters is aggregate and not combined.state
        return (aggregate if untouched else None if model is None else _parameters(model)), metrics_below or metrics

    def _attach(self, proxies: Iterable[ClientProxy]) -> None:
        """Let Flower's legacy loop send through a Grid that waits for nobody too long, and believes nothing that replies say."""
        for grid in compat.grids_of(proxies):
            if self._grid is None or self._grid.grid is not grid:
                self._grid = QuorumGrid(grid, self._patience, list, self._arrived)
                self._grid.attach(hold_back=False)

    def _begin_exchange(self, proxies: Sequence[ClientProxy], training: bool) -> None:
        """One clock for all messages of a round's training, or evaluation: Flower's loop may send each by itself."""
        self._attach(proxies)
        self._clock = self.core.patience(len(proxies), training, LONGEST)
        if self._grid is not None:
            self._grid.unusable.clear()

    def _refused(self) -> list[Reply]:
        """The nodes whose replies did not reach Flower's loop as results, as far as the Grid knows them."""
        return [] if self._grid is None else [from_error(message, node) for node, message in self._grid.unusable.items()]

    def _patience(self, sent: list[Message], limit: float) -> Patience:
        return self._clock or self.core.patience(len(sent), False, min(limit, LONG * SHORTEST))  # before the first round

    def _arrived(self, message: Message) -> bool:
        """Look at a reply on its arrival; whether it counts towards the quorum.

        Raises:
            MalformedUpdate: Flower's legacy loop would end with it.
        """
        if message.has_error():
            return False
        reply, template = from_legacy(message, message.metadata.src_node_id), self.core.template
        if template is None or not is_train(message):
            return reply.metrics is not None
        return not isinstance(rows_or_reason(reply, template), str)

    def configure_evaluate(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, EvaluateIns]]:
        """The instructions of the strategy below, but for nodes in quarantine."""
        below: Any = super()
        number = self.core.number(server_round)
        with self.core.state.draws.of("evaluate", number) as begin:
            patient = self._patient(client_manager, training=False)
            asked = below.configure_evaluate(number, parameters, patient.over(OrderedClients(patient.manager, begin)))
        allowed = [(proxy, given) for proxy, given in asked if self.core.allows(node_of(proxy), server_round)]
        self._begin_exchange([proxy for proxy, _ in allowed], training=False)
        self.core.evaluating = [node_of(proxy) for proxy, _ in allowed]
        return allowed

    def aggregate_evaluate(self, server_round: int, results: list[Evaluate], failures: list[Evaluate | BaseException]) -> Evaluated:
        """The median of the loss and of each metric over the replies that are well formed, by way of the strategy below.

        None where that does not accept the failures.
        """
        given = [from_evaluate(result, node_of(proxy)) for proxy, result in results]
        replies = self.core.evaluated(server_round, [*given, *self._refused()])
        if objection(self._below(), "completion_rate_evaluate", len(results), len(failures)):
            return None, {}
        losses = robust_metrics([{"loss": reply.source.loss} for reply in replies], "")
        if "loss" not in losses:
            return None, {}
        like = next((proxy, result) for proxy, result in results if result is replies[0].source)
        metrics = self._said(replies, "evaluate_metrics_aggregation_fn")
        loss, metrics_below = self._apply_evaluation(self.core.number(server_round), (float(losses["loss"]), metrics), like)
        self.core.note_evaluation(server_round, "clients", {"loss": loss, **(metrics_below or metrics)})
        return loss, metrics_below or metrics

    def _said(self, replies: list[Reply], name: str) -> dict[str, Any]:
        said = [(reply.source.num_examples, dict(reply.metrics or {})) for reply in replies]
        return self._metrics_of(replies, name, "", lambda function: function(said))


def _noted(configure_fit: ConfigureFit) -> ConfigureFit:
    """A subclass's `configure_fit`, after which the strategy knows what it sends."""

    @functools.wraps(configure_fit)
    def noted(self: Any, server_round: int, parameters: Parameters, client_manager: ClientManager) -> list[tuple[ClientProxy, FitIns]]:
        client_manager = self._patient(client_manager, training=True)
        asked = configure_fit(self, server_round, parameters, client_manager)
        found: list[tuple[ClientProxy, FitIns]] = self._sent(server_round, asked, client_manager)
        return found

    return noted


def node_of(proxy: ClientProxy) -> int:
    """The node id; a client id that is no number becomes one, the same in every round."""
    text = str(getattr(proxy, "node_id", proxy.cid))
    if re.fullmatch(r"-?[0-9]{1,40}", text):
        return int(text)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def _parameters(arrays: Any) -> Parameters:
    """A model by names as Flower's tensors, in its order."""
    return ndarrays_to_parameters(list(arrays.values()))
