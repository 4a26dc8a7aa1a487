"""Whole runs over adapters of several ranks, in both of Flower's APIs."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays

from flwr_byzantine import FLTrust, InvalidParameter, LocalGrid, LoRA, MultiKrum, Robust, legacy, rules
from tests.support.adapters import LAYERS, PREFIX, adapter, rank_of
from tests.support.legacy import Clients, proxies

N, BAD, NAMES = 11, (1, 2), list(adapter(1, 0))
GOAL = {layer: np.outer(np.arange(1.0, p + 1), np.ones(q)) for layer, (p, q) in LAYERS.items()}
SERVERS = {"svd": LoRA(alpha=8), "stack": LoRA(alpha=8, aggregate="stack"), "fresh": LoRA(alpha=8, aggregate="stack", fresh=True)}


def trained(lora, broadcast, node):
    """What a client of its rank makes of the broadcast adapter: a step half-way to the goal; the malicious go the other way."""
    begun, known = lora.fitted(broadcast, adapter(1 + node % 3, node, b=0.0)), lora.products(broadcast)
    for pair in lora.pairs(NAMES):
        here = lora.products(begun)[pair.layer] + (known[pair.layer] if lora.fresh else 0.0)
        step = (GOAL[pair.layer] - here) * (0.5 + 0.01 * node) * (-5 if node in BAD else 1)
        u, sizes, v = np.linalg.svd((0.0 if lora.fresh else lora.products(begun)[pair.layer]) + step, full_matrices=False)
        rank = len(begun[pair.a])
        begun[pair.a] = v[:rank].astype(np.float32)
        begun[pair.b] = (u[:, :rank] * sizes[:rank] / lora.scale(pair.layer, rank)).astype(np.float32)
    return begun


def error(lora, model):
    found = lora.products(model)
    return max(np.linalg.norm(found[layer] - GOAL[layer]) / np.linalg.norm(GOAL[layer]) for layer in LAYERS)


def client_app(lora):
    app = ClientApp()

    @app.train()
    def train(message, context):
        broadcast = {name: array.numpy() for name, array in message.content["arrays"].items()}
        made = trained(lora, broadcast, context.node_id)
        content = {
            "arrays": ArrayRecord({name: Array(value) for name, value in made.items()}),
            "metrics": MetricRecord({"num-examples": 1}),
        }
        return Message(RecordDict(content), reply_to=message)

    return app


def record(model):
    return ArrayRecord({name: Array(value) for name, value in model.items()})


@pytest.mark.parametrize("kind", SERVERS)
def test_a_run_reaches_the_goal_in_spite_of_two_liars(kind):
    lora = SERVERS[kind]
    strategy = Robust(rules.parse("nnm+multi-krum", 2) if kind != "fresh" else rules.GeometricMedian(f=2), lora=lora)
    result = strategy.start(LocalGrid(client_app(lora), N), record(adapter(3, 0, b=0.0)), num_rounds=6)
    model = {name: array.numpy() for name, array in result.arrays.items()}
    assert error(lora, model) < 0.1
    assert all(report.aggregated for report in strategy.reports)


def test_a_run_goes_on_from_a_checkpoint_after_its_adapter_has_grown(tmp_path):
    lora, first = SERVERS["stack"], record(adapter(3, 0, b=0.0))
    for rounds in (2, 4):
        strategy = MultiKrum(f=2, m=3, lora=lora, checkpoint=tmp_path / "run", resume=True)
        result = strategy.start(LocalGrid(client_app(lora), N), first, num_rounds=rounds)
    assert [report.server_round for report in strategy.reports] == [1, 2, 3, 4]
    assert error(lora, {name: array.numpy() for name, array in result.arrays.items()}) < 0.3


@pytest.mark.parametrize("other", [LoRA(alpha=4), LoRA(scaling=2.0), LoRA(alpha=8, rslora=True), None], ids=str)
def test_a_checkpoint_of_adapters_of_another_scale_is_refused(other, tmp_path):
    lora, first = LoRA(alpha=8), record(adapter(3, 0, b=0.0))
    MultiKrum(f=2, m=3, lora=lora, checkpoint=tmp_path / "run").start(LocalGrid(client_app(lora), N), first, num_rounds=1)
    strategy = MultiKrum(f=2, m=3, lora=other, checkpoint=tmp_path / "run", resume=True)
    with pytest.raises(InvalidParameter, match=r"of another lora: 'alpha=8, .* there, '.*' here"):
        strategy.start(LocalGrid(client_app(lora), N), first, num_rounds=2)


def test_fltrust_follows_the_servers_own_adapter():
    lora = SERVERS["svd"]

    def own(server_round, arrays):
        return trained(lora, {name: array.numpy() for name, array in arrays.items()}, 5)

    strategy = FLTrust(server_update=own, lora=lora)
    result = strategy.start(LocalGrid(client_app(lora), N), record(adapter(3, 0, b=0.0)), num_rounds=6)
    assert error(lora, {name: array.numpy() for name, array in result.arrays.items()}) < 0.2
    assert [strategy.reports[0].nodes[node].weight for node in BAD] == [0.0, 0.0]


def legacy_round(strategy, lora, model, server_round):
    strategy.configure_fit(server_round, ndarrays_to_parameters(list(model.values())), Clients())
    made = {proxy.node_id: list(trained(lora, model, proxy.node_id).values()) for proxy in proxies()}
    answers = [(proxy, FitRes(Status(Code.OK, ""), ndarrays_to_parameters(made[proxy.node_id]), 1, {})) for proxy in proxies()]
    parameters, _ = strategy.aggregate_fit(server_round, answers, [])
    return dict(zip(NAMES, parameters_to_ndarrays(parameters), strict=True))


@pytest.mark.parametrize("aggregate", ["svd", "stack"])
def test_the_legacy_api_knows_the_arrays_by_the_names_of_their_places(aggregate):
    lora = LoRA(alpha=8, aggregate=aggregate, names=NAMES)
    strategy, model = legacy.MultiKrum(f=2, m=3, lora=lora), adapter(3, 0, b=0.0)
    for server_round in range(1, 6):
        model = legacy_round(strategy, SERVERS["svd"], model, server_round)
    assert error(SERVERS["svd"], model) < 0.1
    assert {strategy.reports[-1].nodes[node].status for node in BAD} == {"rejected"}
    assert rank_of(model) == (3 if aggregate == "svd" else 6)


def test_names_for_a_list_of_another_length_are_refused():
    strategy = legacy.MultiKrum(f=2, lora=LoRA(alpha=8, names=NAMES[:3]))
    with pytest.raises(InvalidParameter, match="the 5 names"):
        legacy_round(strategy, SERVERS["svd"], adapter(3, 0), 1)


def test_one_prefix_is_peft():
    assert all(name.startswith(PREFIX) for name in NAMES)
