"""`Robust` and `ByzantineSGD` for the legacy API: any rule over any legacy Flower strategy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from flwr.common import EvaluateIns, EvaluateRes, FitIns, FitRes, Parameters, Scalar
from flwr.server import ClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import FedAvg, Strategy

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.strategy.arguments import AnyRule, Faults, rule_of
from flwr_byzantine.strategy.legacy import Evaluate, Evaluated, Fit, Fitted, RobustAggregation
from flwr_byzantine.strategy.steps import Descent
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


class Wrapper(RobustAggregation, Delegating):
    """What `Robust` and `ByzantineSGD` share: the wrapped strategy gets the aggregate as the only result."""

    rule: AnyRule
    f: Faults

    def __post_init__(self) -> None:
        """Check the wrapped strategy too."""
        self.strategy = FedAvg() if self.strategy is None else self.strategy
        if not isinstance(self.strategy, Strategy):
            raise InvalidParameter(f"legacy.Robust: strategy must be a flwr.server.strategy.Strategy, got {self.strategy!r}")
        super().__post_init__()

    def rule_at(self, n: int) -> Rule:
        """The rule for a round in which n replies arrived."""
        return rule_of(self.rule, self.f, n)

    def below(self) -> Any:
        """The wrapped strategy."""
        return self.strategy

    def apply(self, server_round: int, parameters: Parameters, metrics: dict[str, Scalar], like: Fit) -> Fitted:
        """What the wrapped strategy, an optimiser perhaps, makes of the aggregate as the only result."""
        proxy, result = like
        with _saying(self.strategy, "fit_metrics_aggregation_fn", metrics):
            return self.strategy.aggregate_fit(server_round, [(proxy, FitRes(result.status, parameters, 1, dict(metrics)))], [])

    def apply_evaluation(self, server_round: int, loss: float, metrics: dict[str, Scalar], like: Evaluate) -> Evaluated:
        """What the wrapped strategy makes of the evaluation as the only result's."""
        proxy, result = like
        with _saying(self.strategy, "evaluate_metrics_aggregation_fn", metrics):
            return self.strategy.aggregate_evaluate(server_round, [(proxy, EvaluateRes(result.status, loss, 1, dict(metrics)))], [])


@contextmanager
def _saying(strategy: Strategy, name: str, metrics: dict[str, Scalar]) -> Iterator[None]:
    """For the time of a call, let the strategy's metrics function of that name, if it may have one, answer with these metrics."""
    if name not in vars(strategy):
        yield
        return
    own = vars(strategy)[name]
    setattr(strategy, name, lambda _metrics: metrics)
    try:
        yield
    finally:
        setattr(strategy, name, own)


@dataclass(eq=False, repr=False)
class Robust(Wrapper):
    """A legacy Flower strategy whose average is replaced by a robust rule; see `flwr_byzantine.Robust`.

    Args:
        rule: a rule or chain; a name such as "nnm+trimmed-mean", with f; or a function from the number of replies that
            arrived to a rule.
        strategy: the legacy Flower strategy to wrap; `FedAvg()` by default.
        f: with a name, the replies of a round that may be Byzantine: a count, or a share of those that arrive.

    The fields of `Policy` follow by keyword.

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
class ByzantineSGD(Wrapper):
    """Byzantine-resilient SGD for `NumPyClient`s whose `fit` returns gradients; see `flwr_byzantine.ByzantineSGD`.

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

    def server_step(self) -> Descent:
        """The descent, made once: its velocity lasts over the rounds."""
        self.descent = Descent(self.step_size, self.momentum)
        return self.descent
