"""What clients keep to themselves (BatchNorm under FedBN, personal heads) is neither expected of them nor refused, and never read."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.server.strategy import FedAdam as LegacyFedAdam
from flwr.serverapp.strategy import FedAdam, FedAvg

from flwr_byzantine import ByzantineSGD, attacks, rules
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.mods import byzantine_mod
from tests.support.batchnorm import (
    BAD,
    EVERYONE,
    NNM,
    F,
    N,
    accuracy,
    backwards,
    federate,
    legacy_federate,
    legacy_over,
    over,
    record,
    start,
    trained,
)
from tests.support.shared import HEADS, MODEL, SENT, toy

MDA = rules.parse("mda", F)
KEPT = [name for name in start() if name not in SENT]  # the whole BatchNorm layer, positions 2 to 6
JUNK = {name: np.full((3, k), np.nan) for k, name in enumerate(KEPT, 1)}  # of a wrong shape


class Personal:
    """Clients of FedBN: each trains with a BatchNorm layer of its own, and sends what `send` makes of its arrays."""

    def __init__(self, send, attack=backwards):
        self.send, self.attack, self.own, self.seen = send, attack, {}, []

    def __call__(self, got, node):
        model = {name: got.get(name, value) for name, value in start().items()} | self.own.get(node, {})
        found = trained(model, node, 1)
        self.own[node] = {name: found[name] for name in KEPT}
        self.seen.append(got)
        return self.send(self.attack(model, found) if node in BAD else found, node)


def shared_alone(arrays, node):
    return {name: arrays[name] for name in SENT}


def junk(arrays, node):
    return arrays | JUNK if node in BAD else arrays


def either(arrays, node):
    return arrays if node % 2 else shared_alone(arrays, node)


def same(found, expected):
    return all(np.array_equal(found[name], expected[name], equal_nan=True) for name in expected)


def statuses(strategy, status):
    return [report.with_status(status) for report in strategy.reports]


@pytest.mark.parametrize("send", [shared_alone, lambda arrays, node: arrays, junk, either])
@pytest.mark.parametrize("api", [federate, legacy_federate])
def test_fedbn(api, send):
    """Whatever is sent of the rest, the shared arrays are those of a run whose model has no more than these."""
    clients = Personal(send)
    strategy = over(MDA, shared=["0.*", "3.*"]) if api is federate else legacy_over(MDA, shared=[0, 1, 7, 8])
    found = api(strategy, reply=clients, rounds=2)
    plain = federate(over(MDA), reply=Personal(shared_alone), model={name: start()[name] for name in SENT}, rounds=2)
    assert same({name: found[name] for name in SENT}, plain)
    assert same(found, {name: start()[name] for name in KEPT})  # as it was broadcast
    assert statuses(strategy, "rejected") == [list(BAD)] * 2
    assert accuracy(found | clients.own[11]) > 0.75  # which a server's statistics of zeros and ones could not
    assert same(clients.seen[-1], {name: start()[name] for name in KEPT})


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("inner", [FedAvg, FedAdam])
def test_personal_heads(inner, head):
    """Whose broadcast values are not even finite, which no optimiser is disturbed by."""
    strategy = over(NNM, inner, shared="w")
    found = toy(strategy, MODEL, HEADS[head], rounds=3)
    expected = toy(over(NNM, inner), {"w": MODEL["w"]}, HEADS["none"], rounds=3)
    assert same(found, {**MODEL, **expected})
    assert list(found) == list(MODEL)
    assert statuses(strategy, "invalid") == [[]] * 3


def test_personal_heads_in_the_legacy_api():
    model, plain = {name: MODEL[name] for name in ("head", "w")}, {"w": MODEL["w"]}
    found = toy(legacy_over(NNM, LegacyFedAdam, model, shared=[1]), model, HEADS["none"], legacy_federate, rounds=3)
    assert same(found, model | toy(legacy_over(NNM, LegacyFedAdam, plain), plain, HEADS["none"], legacy_federate, rounds=3))


def test_a_file_for_the_replies_and_a_certificate_change_nothing(tmp_path):
    strategy = over(NNM, shared="w", spill=tmp_path, certificate=True)
    assert same(toy(strategy, MODEL, HEADS["large"]), toy(over(NNM), {"w": MODEL["w"]}, HEADS["none"]))
    assert strategy.reports[0].certificate is not None


@pytest.mark.parametrize("api", [federate, legacy_federate])
@pytest.mark.parametrize("all_of_it", [False, True])
def test_the_server_s_own_update_is_of_the_shared_arrays(api, all_of_it):
    model = {"head": np.ones(3), "w": np.zeros(4, np.float32)}

    def update(number, arrays):
        found = dict(zip(model, arrays.to_numpy_ndarrays() if isinstance(arrays, ArrayRecord) else arrays, strict=True))
        made = {"w": found["w"] + 1} | ({"head": np.full(3, np.nan)} if all_of_it else {})
        made = {name: made[name] for name in model if name in made}
        return ArrayRecord({name: Array(value) for name, value in made.items()}) if api is federate else list(made.values())

    def strategy(model, update, **policy):
        rule = rules.FLTrust()
        policy["server_update"] = update
        return over(rule, **policy) if api is federate else legacy_over(rule, model=model, **policy)

    found = toy(strategy(model, update, shared=["w"] if api is federate else [1]), model, HEADS["none"], api)
    assert same(found, {"head": model["head"]})
    np.testing.assert_allclose(found["w"], 2, atol=0.1)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_gradients_of_the_shared_arrays_alone(momentum):
    model = {"head": np.array([7.0]), "w": np.zeros(4, np.float32), "n": np.array([7])}
    strategy = ByzantineSGD(NNM, step_size=0.1, momentum=momentum, strategy=FedAvg(**EVERYONE), shared=["w", "n"])
    found = federate(
        strategy, model=model, rounds=2, reply=lambda got, node: {"w": np.full(4, -1e9 if node in BAD else 1), "n": np.array([0])}
    )
    np.testing.assert_allclose(found["w"], -0.1 * (2 + momentum), rtol=1e-6)
    assert same(found, {"head": model["head"], "n": model["n"]})


def test_attacks_act_on_what_a_client_sends():
    app = ClientApp(mods=[byzantine_mod(attacks.Scaling(factor=-100.0), nodes={node - 1 for node in BAD})])

    @app.train()
    def train(message, context):
        w = message.content["arrays"]["w"].numpy() + 1
        return Message(RecordDict({"arrays": record({"w": w}), "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    strategy = over(MDA, shared="w")
    found = strategy.start(LocalGrid(app, N), record(MODEL), 1).arrays
    assert statuses(strategy, "rejected") == [list(BAD)]
    assert found["w"].numpy().tolist() == [1.0] * 4
