"""Legacy-API strategies: NumPyClients on the engine, and hostile replies by direct calls."""

import logging

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from flwr.client import ClientApp, NumPyClient
from flwr.common import EvaluateRes, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server import strategy as flower

from clients import SignFlipClient
from flwr_byzantine import LocalGrid, legacy, rules
from tests.support.legacy import MODEL, OK, one_round, proxies


class Client(NumPyClient):
    def fit(self, parameters, config):
        return [value + (1 - value) / 2 for value in parameters], 10, {"loss": 1.0}

    def evaluate(self, parameters, config):
        return float(np.abs(parameters[0] - 1).max()), 10, {"accuracy": 0.5}


def client_fn(context):
    honest = Client()
    return (SignFlipClient(honest, scale=10.0) if context.node_config["partition-id"] < 2 else honest).to_client()


def federated(name, run):
    """The strategy, and the final model, of 3 rounds of 11 NumPyClients of which 2 flip their updates."""
    strategies, finals = [], []

    def server_fn(context):
        strategy = getattr(legacy, name)(
            f=2,
            min_fit_clients=11,
            min_available_clients=11,
            initial_parameters=ndarrays_to_parameters(MODEL),
            evaluate_fn=lambda server_round, parameters, config: (finals.append(parameters), (0.0, {}))[1],
        )
        strategies.append(strategy)
        return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=3))

    run(ServerApp(server_fn=server_fn), ClientApp(client_fn))
    return strategies[0], finals[-1]


def in_process(server_app, client_app):
    server_app(LocalGrid(client_app, 11), Context(1, 0, {}, RecordDict(), {}))


def on_the_engine(server_app, client_app):
    from flwr.simulation import run_simulation

    backend = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 2, "log_to_driver": False}}
    run_simulation(server_app, client_app, 11, backend_config=backend)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")  # Ray's open files
@pytest.mark.parametrize(
    ("name", "run"),
    [("Krum", on_the_engine)]
    + [(name, in_process) for name in ("Krum", "MultiKrum", "Bulyan", "FedMedian", "FedTrimmedAvg", "GeometricMedian")],
)
def test_numpy_clients_learn_under_a_legacy_strategy_in_flowers_server_app(name, run, caplog):
    """Through ServerAppComponents and Flower's own server loop; once on its engine."""
    caplog.set_level(logging.ERROR, logger="flwr")
    strategy, final = federated(name, run)
    assert len(strategy.reports) == 3
    assert all(report.aggregated and report.n_valid == 11 for report in strategy.reports)
    np.testing.assert_allclose(final[0], 0.875, atol=1e-5)


class Broken(Client):
    def fit(self, parameters, config):
        raise MemoryError("no room for the model")


def test_reports_say_why_a_client_failed_in_flowers_server_app():
    strategies = []

    def server_fn(context):
        model = ndarrays_to_parameters(MODEL)
        strategies.append(legacy.FedMedian(f=2, min_fit_clients=11, min_available_clients=11, initial_parameters=model))
        return ServerAppComponents(strategy=strategies[0], config=ServerConfig(num_rounds=2))

    make = lambda context: (Broken if context.node_config["partition-id"] == 4 else Client)().to_client()  # noqa: E731
    in_process(ServerApp(server_fn=server_fn), ClientApp(make))
    for report in strategies[0].reports:
        assert [node for node, entry in report.nodes.items() if entry.status not in ("kept", "rejected")] == [5]
        assert (report.nodes[5].status, report.nodes[5].reason) == ("failed", "the client reported an error: no room for the model")


class Measured(NumPyClient):
    """Reports numbers, a text and a truth value; the clients of partitions 0 and 1 lie."""

    def __init__(self, partition):
        super().__init__()
        self.partition, self.factor = partition, 1e9 if partition < 2 else 1.0

    def fit(self, parameters, config):
        said = {"loss": self.partition * self.factor, "partition-id": self.partition, "kind": "honest", "done": True}
        return [value + 1 for value in parameters], 10 + self.partition, said

    def evaluate(self, parameters, config):
        return 2.0 * self.factor, 10, {"accuracy": 0.1 * self.partition * self.factor}


class Told(legacy.FedMedian):
    """Keeps the metrics that it gives back."""

    def aggregate_fit(self, server_round, results, failures):
        parameters, self.fitted = super().aggregate_fit(server_round, results, failures)
        return parameters, self.fitted

    def aggregate_evaluate(self, server_round, results, failures):
        loss, self.evaluated = super().aggregate_evaluate(server_round, results, failures)
        return loss, self.evaluated


def measured(**functions):
    """The strategy after 2 rounds of 11 such clients."""
    strategies = []

    def server_fn(context):
        model = ndarrays_to_parameters(MODEL)
        strategies.append(Told(f=2, min_fit_clients=11, min_available_clients=11, initial_parameters=model, **functions))
        return ServerAppComponents(strategy=strategies[0], config=ServerConfig(num_rounds=2))

    in_process(ServerApp(server_fn=server_fn), ClientApp(lambda context: Measured(context.node_config["partition-id"]).to_client()))
    return strategies[0]


def test_metrics_of_numpy_clients_come_through_flowers_server_app():
    """Flower's own loop brings them as records; calls of a strategy's methods, as dicts."""
    strategy = measured()
    assert strategy.fitted == {"loss": 6.0}
    assert strategy.evaluated == pytest.approx({"accuracy": 0.6})
    assert strategy.reports[1].evaluation["clients"] == pytest.approx({"loss": 2.0, "accuracy": 0.6})


def test_ones_own_functions_of_metrics_get_them_from_flowers_server_app():
    seen = []
    function = lambda said: (seen.append(sorted(said, key=str)), {"number": len(said)})[1]  # noqa: E731
    strategy = measured(fit_metrics_aggregation_fn=function, evaluate_metrics_aggregation_fn=function)
    assert seen[0] == sorted(((10 + k, Measured(k).fit([], {})[2]) for k in range(11)), key=str)
    assert seen[1] == sorted(((10, Measured(k).evaluate([], {})[2]) for k in range(11)), key=str)
    assert strategy.fitted == strategy.evaluated == {"number": 11}


NAMED = {
    "Krum": lambda: legacy.Krum(num_malicious_clients=2),
    "Krum keep": lambda: legacy.Krum(num_malicious_clients=2, num_clients_to_keep=3),
    "MultiKrum": lambda: legacy.MultiKrum(num_malicious_clients=2),
    "Bulyan": lambda: legacy.Bulyan(num_malicious_clients=2),
    "FedMedian": lambda: legacy.FedMedian(),
    "FedTrimmedAvg": lambda: legacy.FedTrimmedAvg(beta=0.2),
    "GeometricMedian": lambda: legacy.GeometricMedian(),
    "FedAvgM": lambda: legacy.Robust(rules.TrimmedMean(f=2), flower.FedAvgM(initial_parameters=ndarrays_to_parameters(MODEL))),
}
HOSTILE = {
    "nan": lambda tensors: ndarrays_to_parameters([np.full((2, 3), np.nan, np.float32), np.ones(4, np.float32)]).tensors,
    "huge": lambda tensors: ndarrays_to_parameters([np.full((2, 3), 3e38, np.float32), np.ones(4, np.float32)]).tensors,
    "one tensor": lambda tensors: tensors[:1],
    "three tensors": lambda tensors: [*tensors, tensors[0]],
    "other shape": lambda tensors: tensors[::-1],
    "garbage": lambda tensors: [b"garbage", tensors[1]],
    "not bytes": lambda tensors: [None, tensors[1]],
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_replies_neither_crash_nor_bend(name, kind):
    strategy = NAMED[name]()
    parameters, _ = one_round(strategy, lambda node, tensors: HOSTILE[kind](tensors) if node in (1, 11) else tensors)
    result = parameters_to_ndarrays(parameters)
    assert [value.dtype for value in result] == [np.float32, np.float32]
    for value in result:
        np.testing.assert_allclose(value, 1.0, atol=1e-5)
    if kind != "huge":
        assert strategy.reports[0].with_status("invalid") == [1, 11]


def test_evaluation_takes_the_median_loss():
    strategy = legacy.Krum(num_malicious_clients=2)
    results = [(proxy, EvaluateRes(OK, 0.5 if proxy.node_id > 2 else float("nan"), 10, {"accuracy": 0.9})) for proxy in proxies()]
    assert strategy.aggregate_evaluate(1, results, []) == (0.5, {"accuracy": 0.9})


def test_too_few_replies_keep_the_model():
    strategy = legacy.Bulyan(num_malicious_clients=5)
    assert one_round(strategy) == (None, {})
    assert "needs at least 23 valid replies, got 11" in strategy.reports[0].note
