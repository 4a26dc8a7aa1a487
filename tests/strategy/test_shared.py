"""What clients keep to themselves (BatchNorm under FedBN, personal heads) is neither expected of them nor refused, and never read."""

import logging

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.server.strategy import FedAdam as LegacyFedAdam
from flwr.serverapp.strategy import FedAdam, FedAvg

from flwr_byzantine import ByzantineSGD, InvalidParameter, Quarantine, attacks, rules
from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.mods import byzantine_mod
from flwr_byzantine.strategy.roles import decide, shared_names
from flwr_byzantine.strategy.template import Template
from tests.support.batchnorm import (
    BAD,
    EVERYONE,
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

NNM = rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F))
MDA = rules.parse("mda", F)
SENT = ["0.weight", "0.bias", "3.weight", "3.bias"]  # positions 0, 1, 7 and 8
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


def toy(strategy, model, answer, api=federate, rounds=2):
    """A model of one weight vector w, trained towards 1 and more; attackers send -10000."""

    def reply(got, node):
        w = got["w"] + 1 + 0.01 * np.float32(node) if node not in BAD else np.full(4, -1e4, np.float32)
        return answer({"w": w.astype(np.float32)}, node)

    return api(strategy, reply=reply, model=model, rounds=rounds)


MODEL = {"head": np.array([np.nan, -np.inf], np.float32), "w": np.zeros(4, np.float32), "mask": np.array([True, False])}
HEADS = {
    "none": lambda sent, node: sent,
    "of a class more for each": lambda sent, node: {"head": np.ones(node, np.float32), **sent},
    "bytes that are none": lambda sent, node: sent | {"head": np.array(["odd"] * node)},
    "large": lambda sent, node: sent | {"head": np.zeros(300_000)},
    "of arrays that the server has not": lambda sent, node: sent | {f"head.{node}.{k}": np.zeros(3) for k in range(node)},
}


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


def test_what_is_shared_is_expected_and_checked():
    wrong = {6: {}, 7: {"head": np.ones(2), "w": np.ones(3, np.float32)}}
    strategy = over(NNM, shared="w", quarantine=Quarantine(threshold=1.5))
    toy(strategy, MODEL, lambda sent, node: wrong.get(node, sent))
    nodes = strategy.reports[0].nodes
    assert nodes[6].reason == "expected the 1 shared of the model's 3 arrays, got missing ['w'] and unknown []"
    assert nodes[7].reason == "array 'w': expected shape (4,), got (3,)"
    assert strategy.core.ledger.banned.keys() == {6, 7}


LISTS = [  # arrays of the model, positions of the shared ones -> lengths of lists that are taken, and refused
    (5, [1, 3], [2, 5], [1, 3, 4, 6]),
    (5, [0, 1], [2, 3, 5, 9], [0, 1]),
    (3, [0, 1, 2], [3, 4], [2]),
]


@pytest.mark.parametrize(("total", "places", "taken", "refused"), LISTS)
def test_a_list_holds_all_arrays_or_those_that_are_shared(total, places, taken, refused):
    """Or what follows the shared ones, where these come first."""
    names = [str(place) for place in range(total)]
    template = Template({name: np.zeros(1) for name in names}, [names[place] for place in places])
    for length in taken:
        rows = template.check({str(place): np.array([place]) for place in range(length)})
        assert [int(row[0]) for row in rows] == (list(range(len(places))) if length == len(places) else places)
    for length in refused:
        with pytest.raises(MalformedUpdate, match="expected the"):
            template.check({str(place): np.array([place]) for place in range(length)})


def test_names_that_are_numbers_are_names_where_they_are_no_list():
    template = Template({str(place): np.zeros(1) for place in range(4)}, ["1", "3"])
    assert [row.tolist() for row in template.check({"3": np.array([3]), "1": np.array([1])})] == [[1], [3]]


@pytest.mark.parametrize(
    ("shared", "expected"),
    [
        (["0.*", "3.*"], SENT),
        ("3.bias", ["3.bias"]),
        ([8, 0], ["0.weight", "3.bias"]),
        ("trained", [*SENT[:2], "1.weight", "1.bias", *SENT[2:]]),
        (lambda name, value: value.ndim == 2, ["0.weight", "3.weight"]),
        ("all", None),
        (None, None),
    ],
)
def test_who_says_what_is_shared(shared, expected):
    assert shared_names(start(), shared) == expected


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"shared": "no.such.pattern"}, "shared must hold names, patterns or positions of the model's 3 arrays, got 'no.such.pattern'"),
        ({"shared": ["w", 3]}, "shared must hold names, patterns or positions of the model's 3 arrays, got 3"),
        ({"shared": lambda name, value: False}, r"judge='trained' leaves no array of numbers to judge; clients share \[\]"),
        ({"shared": "mask"}, r"judge='trained' leaves no array of numbers to judge; clients share \['mask'\]"),
        ({"shared": "w", "judge": "head"}, r"judge='head' leaves no array of numbers to judge; clients share \['w'\]"),
    ],
)
@pytest.mark.parametrize("api", [federate, legacy_federate])
def test_what_does_not_fit_the_model_is_refused_before_anybody_is_asked(api, policy, message):
    names = {"w": 1, "mask": 2, "head": 0}
    older = {name: [names.get(value, value)] if isinstance(value, str) else value for name, value in policy.items()}
    strategy = over(NNM, **policy) if api is federate else legacy_over(NNM, model=MODEL, **older)
    with pytest.raises(InvalidParameter, match=message if api is federate else message.split("=")[0].split(" ")[0]):
        toy(strategy, MODEL, lambda sent, node: pytest.fail("was asked"), api)


def test_what_is_judged_is_judged_among_the_shared():
    model = {name: np.ones(2, np.float32) for name in ("a", "b", "c")} | {"running_mean": np.ones(2)}
    assert decide(model, ["a", "b"], shared=["b", "c"]).judged(["b", "c"]) == ["b"]
    assert decide(model, [1, 2], shared=["b", "running_mean"]).kinds == {"running_mean": "BatchNorm"}
    assert (
        str(decide(model, "trained", shared=["b", "running_mean"]))
        == "judged 1 array, 2 values; state: 1 BatchNorm array; not shared: 2 arrays"
    )


def test_the_log_says_once_what_is_not_shared(caplog):
    with caplog.at_level(logging.INFO, logger="flwr"):
        toy(strategy := over(NNM, shared="w"), MODEL, HEADS["none"])
    said = [record.getMessage() for record in caplog.records if "judged" in record.getMessage()]
    assert [text.split(": ", 1)[1] for text in said] == ["judged 1 array, 4 values; not shared: 2 arrays"]
    assert strategy.reports[1].notes == ("judged 1 array, 4 values; not shared: 2 arrays",)


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
