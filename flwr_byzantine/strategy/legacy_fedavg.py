"""Flower's legacy FedAvg with a robust rule in place of its average: what the named legacy strategies are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from flwr.common import NDArrays, Parameters, Scalar
from flwr.server.strategy import FedAvg

from flwr_byzantine.strategy.legacy import MetricsFn, RobustAggregation

ConfigFn = Callable[[int], dict[str, Scalar]]
EvaluateFn = Callable[[int, NDArrays, dict[str, Scalar]], tuple[float, dict[str, Scalar]] | None]


@dataclass(kw_only=True, eq=False, repr=False)
class FedAvgArguments(FedAvg):
    """All of the legacy FedAvg's arguments, by keyword as in Flower."""

    fraction_fit: float = 1.0
    fraction_evaluate: float = 1.0
    min_fit_clients: int = 2
    min_evaluate_clients: int = 2
    min_available_clients: int = 2
    evaluate_fn: EvaluateFn | None = None
    on_fit_config_fn: ConfigFn | None = None
    on_evaluate_config_fn: ConfigFn | None = None
    accept_failures: bool = True
    initial_parameters: Parameters | None = None
    fit_metrics_aggregation_fn: MetricsFn | None = None
    evaluate_metrics_aggregation_fn: MetricsFn | None = None
    inplace: bool = True


@dataclass(kw_only=True, eq=False, repr=False)
class Malicious:
    """Flower's argument for f."""

    num_malicious_clients: int = 0


class RobustFedAvg(RobustAggregation, FedAvg):
    """A legacy FedAvg that aggregates by a rule: its attributes may be read and set, its hooks overridden."""

    def __post_init__(self) -> None:
        """Let Flower have its arguments, then begin."""
        FedAvg.__init__(self, **{item.name: getattr(self, item.name) for item in fields(FedAvgArguments)})
        super().__post_init__()

    def __repr__(self) -> str:
        """As Flower's strategies show themselves."""
        return f"{type(self).__name__}(accept_failures={self.accept_failures})"
