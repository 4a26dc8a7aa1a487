"""Digits, a network with one BatchNorm layer and its counter, eleven clients with 20 to 300 images each, two of them hostile."""

from functools import cache
from threading import Lock
from types import SimpleNamespace

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import FitRes, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import Server, SimpleClientManager
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine import Robust, legacy, rules
from flwr_byzantine.flower.local import LocalGrid
from tests.support.digits import split
from tests.support.legacy import OK

N, F, BAD = 11, 2, (6, 7)  # attackers by node id
SIZES = (20, 20, 30, 40, 60, 80, 110, 150, 200, 250, 297)
EVERYONE = {"fraction_evaluate": 0.0, "min_train_nodes": 2, "min_available_nodes": 2}
NNM = rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F))


def network(raw=False):
    """The norm before the first layer sees inputs of 0 to 255, where `raw`: its statistics dwarf all weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [torch.nn.BatchNorm1d(64)] if raw else [torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64), torch.nn.ReLU()]
        return torch.nn.Sequential(*layers, *([torch.nn.Linear(64, 64), torch.nn.ReLU()] if raw else []), torch.nn.Linear(64, 10))


def start(raw=False, counter=True):
    return {name: value.numpy() for name, value in network(raw).state_dict().items() if counter or "num_batches" not in name}


def loaded(arrays, raw):
    model = network(raw)
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}, strict=False)
    return model


@cache
def share(node):
    ends, (x, _, y, _) = np.cumsum((0, *SIZES)), split()
    return x[ends[node - 1] : ends[node]], y[ends[node - 1] : ends[node]]


def trained(arrays, node, seed, raw=False, epochs=3):
    """What an honest client answers."""
    torch.set_num_threads(1)
    model, (x, y) = loaded(arrays, raw).train(), share(node)
    generator, optimizer = torch.Generator().manual_seed(1000 * seed + node), torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(epochs):
        for part in torch.randperm(len(x), generator=generator).split(10):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[part] * (255 if raw else 1)), y[part]).backward()
            optimizer.step()
    return {name: value.numpy() for name, value in model.state_dict().items() if name in arrays}


def accuracy(arrays, raw=False):
    _, x, _, y = split()
    with torch.no_grad():
        return float((loaded(arrays, raw).eval()(x * (255 if raw else 1)).argmax(1) == y).float().mean())


def weights_of(arrays):
    return {name: value for name, value in arrays.items() if name.endswith(("weight", "bias"))}


def with_statistics(weights, raw=False):
    """The model with the running statistics of all clients' data."""
    model = loaded(weights, raw).train()
    next(layer for layer in model if isinstance(layer, torch.nn.BatchNorm1d)).momentum = None
    with torch.no_grad():
        model(torch.cat([share(node)[0] for node in range(1, N + 1)]) * (255 if raw else 1))
    return {name: value.numpy() for name, value in model.state_dict().items()}


def backwards(model, honest):
    """Three times the update, backwards, and a counter like anybody's."""
    return {
        name: model[name] + 75 if value.dtype.kind == "i" else (model[name] - 3 * (value - model[name])).astype(value.dtype)
        for name, value in honest.items()
    }


def disguised(model, honest):
    """Three times the update, backwards, in what is trained, and honest statistics."""
    return {name: honest[name] if "running" in name else value for name, value in backwards(model, honest).items()}


def statistics(value):
    """Honest weights, and running statistics of this value."""
    return lambda model, honest: {name: np.full_like(array, value) if "running" in name else array for name, array in honest.items()}


def replying(attack, raw, epochs):
    """What the clients answer, as a function of model, node and round."""

    def answer(got, node, number):
        found = trained(got, node, number, raw, epochs)
        return attack(got, found) if node in BAD else found

    return answer


def federate(strategy, attack=backwards, raw=False, model=None, rounds=4, epochs=3, reply=None):
    """The model, by name, after some rounds under the Message API; clients answer what `reply` makes of model and node, if given."""
    app, answer = ClientApp(), replying(attack, raw, epochs) if reply is None else lambda got, node, number: reply(got, node)

    @app.train()
    def train(message, context):
        got = {name: array.numpy() for name, array in message.content["arrays"].items()}
        found = answer(got, context.node_id, message.content["config"]["server-round"])
        return Message(RecordDict({"arrays": record(found), "metrics": MetricRecord({"num-examples": 10})}), reply_to=message)

    result = strategy.start(LocalGrid(app, N), record(start(raw) if model is None else model), rounds)
    return {name: array.numpy() for name, array in result.arrays.items()}


def record(arrays):
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})


def legacy_federate(strategy, attack=backwards, raw=False, model=None, rounds=4, epochs=3, reply=None):
    """As `federate`, in Flower's legacy server."""
    names, manager = list(start(raw) if model is None else model), SimpleClientManager()
    answer = replying(attack, raw, epochs) if reply is None else lambda got, node, number: reply(got, node)
    one_at_a_time = Lock()  # of threads that parse npy headers at once one may raise SystemError in CPython 3.11

    def by_name(parameters):  # by place, in a run that begins without a model
        values = parameters_to_ndarrays(parameters)
        return dict(zip(names or map(str, range(len(values))), values, strict=True))

    def fit(ins, node):
        with one_at_a_time:
            got = by_name(ins.parameters)
        return FitRes(OK, ndarrays_to_parameters(list(answer(got, node, ins.config["round"]).values())), 10, {})

    for node in range(1, N + 1):
        made = SimpleNamespace(cid=str(node), node_id=node, fit=lambda ins, timeout, group_id, node=node: fit(ins, node))
        manager.register(made)
    server = Server(client_manager=manager, strategy=strategy)
    server.disconnect_all_clients = lambda timeout: None
    server.fit(rounds, timeout=None)
    return by_name(server.parameters)


def over(rule, inner=FedAvg, **policy):
    return Robust(rule, inner(**EVERYONE), **policy)


def legacy_over(rule, inner=LegacyFedAvg, model=None, **policy):
    parameters = ndarrays_to_parameters([np.asarray(value) for value in (model or start()).values()])
    made = inner(fraction_evaluate=0.0, initial_parameters=parameters, on_fit_config_fn=lambda number: {"round": number})
    return legacy.Robust(rule, made, **policy)


def rejected(strategy):
    return [report.with_status("rejected") for report in strategy.reports]


def same(found, expected):
    return all(np.array_equal(found[name], expected[name]) for name in expected)
