"""`Robust` and `ByzantineSGD` for the legacy API: any rule over a legacy Flower strategy."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

from flwr.common import EvaluateIns, EvaluateRes, FitIns, FitRes, Parameters, Scalar
from flwr.server import ClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import FedAvg, Strategy

from flwr_byzantine.strategy.arguments import AnyRule, Faults
from flwr_byzantine.strategy.base import RobustWrapper
from flwr_byzantine.strategy.descending import Descends
from flwr_byzantine.strategy.legacy import Evaluate, Evaluated, Fit, Fitted, RobustAggregation
from flwr_byzantine.theory.schedules import Schedule


class Delegating(Strategy):
    """Samples, configures and evaluates as another legacy strategy does."""

    strategy: Strategy

    def initialize_parameters(self, client_manager: ClientManager) -> Parameters | None:
        """The wrapped strategy's."""
        return self.strategy.initialize_parameters(client_manager)

    def evaluate(self, server_round: int, parameters: Parameters) -> tuple[float, dict[str, Scalar]] | None:
        """The wrapped strategy's."""
        return self.strategy.evaluate(server_round, parameters)

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: ClientManager) -> list[tuple[ClientProxy, FitIns]]:
        """The wrapped strategy's instructions."""
        return self.strategy.configure_fit(server_round, parameters, client_manager)

    def configure_evaluate(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, EvaluateIns]]:
        """The wrapped strategy's instructions."""
        return self.strategy.configure_evaluate(server_round, parameters, client_manager)


class Wrapper(RobustWrapper, RobustAggregation, Delegating):
    """What `Robust` and `ByzantineSGD` share: the wrapped strategy gets the aggregate as the only result."""

    wraps, default = Strategy, FedAvg
    strategy: Strategy

    def _apply(self, server_round: int, aggregate: Parameters, metrics: dict[str, Scalar], like: Fit) -> Fitted:
        """What the wrapped strategy, an optimiser perhaps, makes of the aggregate as the only result."""
        proxy, result = like
        with self._metrics_answered("fit_metrics_aggregation_fn", metrics):
            return self.strategy.aggregate_fit(server_round, [(proxy, FitRes(result.status, aggregate, 1, dict(metrics)))], [])

    def _apply_evaluation(self, server_round: int, evaluation: Evaluated, like: Evaluate) -> Evaluated:
        """What the wrapped strategy makes of loss and metrics as the only result's."""
        (proxy, result), (loss, metrics) = like, evaluation
        only = EvaluateRes(result.status, float(loss or 0.0), 1, dict(metrics))
        with self._metrics_answered("evaluate_metrics_aggregation_fn", metrics):
            return self.strategy.aggregate_evaluate(server_round, [(proxy, only)], [])


@dataclass(eq=False, repr=False)
class Robust(Wrapper):
    """A legacy Flower strategy whose average is replaced by a robust rule; see `flwr_byzantine.Robust`.

    Args:
        rule: a rule or chain; a name such as "nnm+trimmed-mean", with f; or a function from the number of replies that
            arrived to a rule.
        strategy: the legacy Flower strategy to wrap; `FedAvg()` by default. Those that would not do inside what they are for are refused.
        f: with a name, the replies of a round that may be Byzantine: a count, or a share of those that arrive;
            "auto" (with a rule too, in place of its own): the most that the rule allows at the replies that arrived.

    The fields of `Policy` follow by keyword; `judge=[0, 1, ...]` names what is trained where there are running statistics.

    Example:
        >>> from flwr_byzantine import legacy, rules
        >>> legacy.Robust(rules.Krum(f=2)).reports
        []
    """

    rule: AnyRule
    strategy: Strategy = field(default_factory=FedAvg)
    _: KW_ONLY
    f: Faults = None


@dataclass(eq=False, repr=False)
class ByzantineSGD(Descends, Wrapper):
    """Byzantine-resilient SGD for `NumPyClient`s whose `fit` returns gradients; see `flwr_byzantine.ByzantineSGD`.

    State that `judge=` leaves out stays as it was broadcast.

    Example:
        >>> from flwr_byzantine import legacy, rules
        >>> legacy.ByzantineSGD(rules.Krum(f=2), step_size=0.1).descent.gamma(0)
        0.1
    """

    rule: AnyRule
    step_size: float | Schedule
    momentum: float = 0.0
    strategy: Strategy = field(default_factory=FedAvg)
    _: KW_ONLY
    f: Faults = None
    normalized: bool = False
    refresh: float | None = None
    refresh_seed: int = 0
