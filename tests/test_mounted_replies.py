"""Which replies a mount attacks, from what it measures them, and what it leaves as it is."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

from clients import SignFlipClient
from flwr_byzantine import attacks
from flwr_byzantine.adversary import AdversarialGrid
from flwr_byzantine.flower.codec import pack
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.mount import Broadcast
from flwr_byzantine.flower.records import GRADIENT, REPLY, arrays_of
from flwr_byzantine.mods import byzantine_mod
from tests.support.mounts import Constant


def test_a_client_under_byzantine_sgd_acts_on_the_gradient():
    model = [np.array([10.0, 10.0])]
    assert SignFlipClient(Constant()).fit(model, {REPLY: GRADIENT})[0][0].tolist() == [-1.0, -2.0]
    assert SignFlipClient(Constant()).fit(model, {})[0][0].tolist() == [19.0, 18.0]


def test_replies_are_compared_by_name_and_keep_their_order():
    model = {"a": np.zeros(2), "b": np.ones((1, 2), np.float32)}
    reply = {"b": np.full((1, 2), 3, np.float32), "a": np.array([5.0, 6.0])}
    assert Broadcast(model).update(reply).tolist() == [5.0, 6.0, 2.0, 2.0]
    sent = Broadcast(model).reply(reply, np.array([1.0, 2.0, 3.0, 4.0]))
    assert {name: value.tolist() for name, value in sent.items()} == {"b": [[4.0, 5.0]], "a": [1.0, 2.0]}
    assert list(sent) == ["b", "a"]
    assert sent["b"].dtype == np.float32
    assert Broadcast(model).update({"0": np.ones(2), "1": np.ones(2)}).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_what_grows_from_nothing_stays_and_the_rest_is_attacked():
    """A quantisation observer's first batch."""
    broadcast = Broadcast({"seen": np.zeros(0), "w": np.array([1.0, 2.0]), "scale": np.ones(1)})
    reply = {"seen": np.ones(3), "w": np.array([2.0, 2.0]), "scale": np.ones(3)}
    assert broadcast.fits(reply)
    update = broadcast.update(reply)
    assert update.tolist() == [1.0, 0.0, 0.0]
    sent = broadcast.reply(reply, -update)
    assert {name: value.tolist() for name, value in sent.items()} == {"seen": [1.0] * 3, "w": [0.0, 2.0], "scale": [1.0] * 3}
    assert not broadcast.fits({**reply, "w": np.ones(3)})


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"a": np.zeros(3), "b": np.zeros(2)},
        {"a": np.zeros(2), "b": np.zeros(2), "c": np.zeros(1)},
        {"a": np.array(["x", "y"]), "b": np.zeros(2)},
    ],
    ids=["nothing", "another size", "too many", "words"],
)
def test_a_reply_unlike_the_model_is_left_as_it_is_by_every_mount(reply):
    model = {"a": np.zeros(2), "b": np.zeros((2, 1))}
    assert not Broadcast(model).fits(reply)

    class Odd(NumPyClient):
        def fit(self, parameters, config):
            return list(reply.values()), 1, {}

    asked = [
        Message(RecordDict({"arrays": pack(model), "config": ConfigRecord({})}), dst_node_id=node, message_type="train") for node in (1, 2)
    ]
    grid = AdversarialGrid(LocalGrid(_answering(reply), 2), attacks.SignFlip(), {1})
    for replies in (
        LocalGrid(_answering(reply, [byzantine_mod(attacks.SignFlip())]), 2).send_and_receive(asked),
        grid.send_and_receive(asked),
    ):
        assert all(arrays_of(got).keys() == reply.keys() for got in replies)
        assert all(np.array_equal(value, reply[name]) for got in replies for name, value in arrays_of(got).items())
    assert grid.attacked == []
    sent = SignFlipClient(Odd()).fit(list(model.values()), {})[0]
    assert all(np.array_equal(*pair) for pair in zip(sent, reply.values(), strict=True))


def _answering(reply, mods=None):
    """An app whose clients answer with this reply."""
    app = ClientApp(mods=mods)

    @app.train()
    def train(message, context):
        metrics = MetricRecord({"partition-id": context.node_config["partition-id"]})
        return Message(RecordDict({"arrays": ArrayRecord({n: Array(v) for n, v in reply.items()}), "m": metrics}), reply_to=message)

    return app


def test_each_reply_is_measured_from_what_its_node_was_sent():
    """A strategy may send each node a model of its own."""

    def asked():
        contents = [RecordDict({"arrays": pack({"w": np.full(2, float(node))}), "config": ConfigRecord({})}) for node in (1, 2)]
        return [Message(content, dst_node_id=node, message_type="train") for node, content in enumerate(contents, start=1)]

    def make(mods=None):
        app = ClientApp(mods=mods)

        @app.train()
        def train(message, context):
            arrays = {name: value + 0.5 for name, value in arrays_of(message).items()}
            return Message(RecordDict({"arrays": pack(arrays)}), reply_to=message)

        return app

    for replies in (
        LocalGrid(make([byzantine_mod(attacks.SignFlip())]), 2).send_and_receive(asked()),
        AdversarialGrid(LocalGrid(make(), 2), attacks.SignFlip(), {1, 2}).send_and_receive(asked()),
    ):
        assert [arrays_of(reply)["w"].tolist() for reply in replies] == [[0.5, 0.5], [1.5, 1.5]]


@pytest.mark.parametrize("round", [None, 0, -1, 2.5, True, "3"])
def test_a_round_that_is_none_is_counted_by_every_mount(round):
    config = {} if round is None else {"server-round": round}
    content = RecordDict({"arrays": pack({"w": np.zeros(1)}), "config": ConfigRecord(config)})
    in_message = Broadcast.in_message(Message(content, dst_node_id=1, message_type="train"))
    assert in_message.round is Broadcast.in_call([np.zeros(1)], config).round is None


def test_legacy_replies_of_a_mod_are_written_as_flower_writes_them():
    """Names, types and shapes in the record are those of the honest reply, which in the legacy format are left empty."""
    honest = next(iter(_legacy_reply(None).content.array_records.values()))
    attacked = next(iter(_legacy_reply([byzantine_mod(attacks.SignFlip())]).content.array_records.values()))
    assert [(name, array.dtype, array.shape, array.stype) for name, array in honest.items()] == [
        (name, array.dtype, array.shape, array.stype) for name, array in attacked.items()
    ]
    assert [array.data for array in honest.values()] != [array.data for array in attacked.values()]


def _legacy_reply(mods):
    content = RecordDict({"fitins.parameters": pack({"0": np.zeros(2)}), "fitins.config": ConfigRecord({})})
    app = ClientApp(lambda context: Constant().to_client(), mods=mods)
    return LocalGrid(app, 1).send_and_receive([Message(content, dst_node_id=1, message_type="train")])[0]
