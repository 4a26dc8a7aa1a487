"""Eleven clients of the legacy API by direct calls: a client manager, and one round under a strategy."""

from types import SimpleNamespace

import numpy as np
from flwr.common import Code, FitRes, Parameters, Status, ndarrays_to_parameters
from flwr.server import Server, SimpleClientManager

OK = Status(Code.OK, "")
MODEL = [np.zeros((2, 3), np.float32), np.zeros(4, np.float32)]
ARGUMENTS = {"fraction_evaluate": 0.0, "min_evaluate_clients": 0, "initial_parameters": ndarrays_to_parameters(MODEL)}  # trains only


def proxies(n=11):
    return [SimpleNamespace(cid=str(i), node_id=i) for i in range(1, n + 1)]


class Clients:
    """A client manager that samples everybody."""

    def num_available(self):
        return 11

    def sample(self, num_clients, min_num_clients=None, criterion=None):
        return proxies()


def one_round(strategy, spoil=lambda node, tensors: tensors, metrics=lambda node: {"loss": 1.0}):
    strategy.configure_fit(1, ndarrays_to_parameters(MODEL), Clients())
    results = []
    for proxy in proxies():
        tensors = ndarrays_to_parameters([value + 1 for value in MODEL]).tensors
        results.append((proxy, FitRes(OK, Parameters(spoil(proxy.node_id, tensors), "numpy.ndarray"), 10, metrics(proxy.node_id))))
    return strategy.aggregate_fit(1, results, [])


def proxy_of(number, answers):
    """A legacy client that answers, or raises."""

    def fit(ins, timeout, group_id):
        if not answers:
            raise RuntimeError("gone")
        return FitRes(OK, ndarrays_to_parameters([value + number for value in MODEL]), 10, {})

    return SimpleNamespace(cid=str(number), node_id=number, fit=fit)


def server(strategy, silent=(), n=7):
    """Flower's legacy server with n clients, of which some never answer."""
    manager = SimpleClientManager()
    for number in range(1, n + 1):
        manager.register(proxy_of(number, number not in silent))
    return Server(client_manager=manager, strategy=strategy)
