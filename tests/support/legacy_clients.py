"""Seven NumPyClients in Flower's legacy loop, each with a target of its own, and strategies that keep what they are given."""

import numpy as np
from flwr.app import Context, RecordDict
from flwr.client import ClientApp, NumPyClient
from flwr.common import Code, FitIns, FitRes, Status, ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server import strategy as flower

from flwr_byzantine import LocalGrid
from tests.support.legacy import MODEL, proxies

N, ROUNDS = 7, 3


class Client(NumPyClient):
    """Goes half the way to its own target."""

    def __init__(self, partition):
        super().__init__()
        self.partition = partition

    def fit(self, parameters, config):
        return [value + (1 + self.partition - value) / 2 for value in parameters], 10, {"partition-id": self.partition}

    def evaluate(self, parameters, config):
        return 0.5, 10, {}


app = ClientApp(client_fn=lambda context: Client(context.node_config["partition-id"]).to_client())


def in_process(server_app, mount):
    server_app(mount(LocalGrid(app, N)), Context(1, 0, {}, RecordDict(), {}))


def federated(strategy, run=in_process, mount=lambda grid: grid):
    """Runs Flower's legacy loop."""
    run(ServerApp(server_fn=lambda context: ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=ROUNDS))), mount)


def below(models, make=flower.FedAvg, **arguments):
    """A legacy strategy that keeps the models it is to evaluate."""
    keep = lambda server_round, parameters, config: (models.append(np.concatenate([v.ravel() for v in parameters])), (0.0, {}))[1]  # noqa: E731
    return make(
        min_fit_clients=N,
        min_available_clients=N,
        fraction_evaluate=0.0,
        initial_parameters=ndarrays_to_parameters(MODEL),
        evaluate_fn=keep,
        **arguments,
    )


class Seen(flower.FedAvg):
    """Keeps what it is given to aggregate."""

    def configure_fit(self, server_round, parameters, client_manager):
        given = FitIns(parameters, {})
        return [(proxy, given) for proxy in proxies(N)]

    def aggregate_fit(self, server_round, results, failures):
        self.results = results
        return None, {}


def fitted(client):
    arrays, examples, metrics = client.fit(MODEL, {})
    return FitRes(Status(Code.OK, ""), ndarrays_to_parameters(arrays), examples, metrics)
