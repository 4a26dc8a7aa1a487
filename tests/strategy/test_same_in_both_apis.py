"""One federation in Flower's loop of each API: the same models, bit for bit, the same verdicts, the same metrics."""

import inspect

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import ClientApp as LegacyApp
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server import strategy as flowers_legacy
from flwr.serverapp import strategy as flowers

import flwr_byzantine as ours
from flwr_byzantine import LocalGrid, attacks, legacy
from flwr_byzantine.adversary import AdversarialGrid, AdversarialStrategy, by_partition
from flwr_byzantine.mods import byzantine_mod

N, F, ROUNDS = 13, 2, 3
MODEL = [np.zeros((3, 4), np.float32), np.full(4, -1, np.float32), np.array(3)]
MODS = [byzantine_mod(attacks.SignFlip(scale=3.0), nodes={0, 1})]
OF_THE_SERVER = {  # what some strategies are given of the server's own
    "FLTrust": {"server_update": lambda number, model: half_way(values(model), N)},
    "ZenoPlusPlus": {"server_update": lambda number, model: half_way(values(model), N)},
    "Zeno": {"server_loss": lambda number, model: float(sum(np.square(value - 1.0).sum() for value in list(model.values())[:2]))},
    "MultiKrum": {"m": 5},
}


def values(model):
    """The arrays of a model as either API shows it to the server's own functions."""
    return [value.numpy() for value in model.values()] if isinstance(model, ArrayRecord) else list(model)


def half_way(model, k):
    """What client k trains: half the way to 1, and noise of its own; the last array counts."""
    rng = np.random.default_rng([k, int(model[2])])
    weights = [value + (1 - value) / 2 + 0.05 * rng.normal(size=value.shape) for value in model[:2]]
    return [*(value.astype(np.float32) for value in weights), np.asarray(model[2] + 1)]


def said(k):
    return {"loss": 0.5 * k, "partition-id": k}


def message_app(mods=()):
    app = ClientApp(mods=list(mods))

    @app.train()
    def train(message, context):
        k = context.node_config["partition-id"]
        trained = half_way([array.numpy() for array in message.content["arrays"].values()], k)
        metrics = MetricRecord({"num-examples": 10 + k, **said(k)})
        return Message(RecordDict({"arrays": record(trained), "metrics": metrics}), reply_to=message)

    return app


class Client(NumPyClient):
    def __init__(self, k):
        super().__init__()
        self.k = k

    def fit(self, parameters, config):
        return half_way(parameters, self.k), 10 + self.k, said(self.k)


def legacy_app(mods=()):
    return LegacyApp(client_fn=lambda context: Client(context.node_config["partition-id"]).to_client(), mods=list(mods))


def record(arrays):
    return ArrayRecord({str(place): Array(value) for place, value in enumerate(arrays)})


def by_messages(strategy, app, mount=lambda grid: grid):
    """The last model and the metrics of its rounds."""
    result = strategy.start(mount(LocalGrid(app, N)), record(MODEL), num_rounds=ROUNDS)
    return [array.numpy() for array in result.arrays.values()], [dict(said) for said in result.train_metrics_clientapp.values()]


def by_legacy(strategy, app):
    models, metrics, fit = [], [], strategy.aggregate_fit
    strategy.evaluate = lambda server_round, parameters: models.append(parameters.tensors)
    strategy.aggregate_fit = lambda *given: (found := fit(*given), metrics.append(found[1]))[0]
    server = ServerApp(server_fn=lambda context: ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=ROUNDS)))
    server(LocalGrid(app, N), Context(1, 0, {}, RecordDict(), {}))
    return [Array("", (), "numpy.ndarray", data).numpy() for data in models[-1]], metrics


OPTIONS = {"min_train_nodes": N, "min_available_nodes": N, "fraction_evaluate": 0.0}


def older():
    return {"min_fit_clients": N, "min_available_clients": N, "fraction_evaluate": 0.0, "initial_parameters": ndarrays_to_parameters(MODEL)}


def compared(one, other):
    """Whether two runs agree: models, metrics."""
    (model, metrics), (model2, metrics2) = one, other
    assert [value.tobytes() for value in model] == [value.tobytes() for value in model2]
    assert not np.array_equal(model[0], MODEL[0])
    assert metrics == metrics2
    assert "loss" in metrics[-1]


def verdicts(strategy):
    return [{node: (entry.status, entry.score, entry.weight) for node, entry in report.nodes.items()} for report in strategy.reports]


@pytest.mark.parametrize("name", sorted(set(legacy.__all__) - {"ByzantineSGD", "Robust"}))
def test_named_strategies(name):
    own = OF_THE_SERVER.get(name, {})
    made = [getattr(module, name) for module in (ours, legacy)]
    own = own | ({"f": F} if "f" in inspect.signature(made[0]).parameters else {})
    strategy, strategy2 = made[0](**own, **OPTIONS), made[1](**own, **older())
    compared(by_messages(strategy, message_app(MODS)), by_legacy(strategy2, legacy_app(MODS)))
    assert verdicts(strategy) == verdicts(strategy2)


@pytest.mark.parametrize("below", ["FedAvg", "FedAvgM", "FedYogi"])
def test_robust_over_flowers_strategies(below):
    strategy = ours.Robust("nnm+trimmed-mean", getattr(flowers, below)(**OPTIONS), f=F)
    strategy2 = legacy.Robust("nnm+trimmed-mean", getattr(flowers_legacy, below)(**older()), f=F)
    compared(by_messages(strategy, message_app(MODS)), by_legacy(strategy2, legacy_app(MODS)))
    assert verdicts(strategy) == verdicts(strategy2)


@pytest.mark.parametrize("attack", [attacks.ALIE(z=1.5), attacks.Mimic(), attacks.Adaptive(evals=20), attacks.SignFlip()], ids=str)
def test_colluders(attack):
    strategy, strategy2, rule = ours.FedTrimmedAvg(f=F, **OPTIONS), legacy.FedTrimmedAvg(f=F, **older()), ours.rules.TrimmedMean(f=F)
    chosen = by_partition({0, 5})
    grid = AdversarialGrid(None, attack, chosen, rule, seed=3)
    attacked = AdversarialStrategy(strategy2, attack, chosen, rule, seed=3)
    one = by_messages(strategy, message_app(), lambda inner: setattr(grid, "grid", inner) or grid)
    compared(one, by_legacy(attacked, legacy_app()))
    assert attacked.attacked == grid.attacked == [1, 6]
    assert verdicts(strategy) == verdicts(strategy2)
