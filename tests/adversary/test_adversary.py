"""The same attack through the mod, the Grid and the NumPyClient gives the same vectors."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

from clients import GaussianClient, LabelFlipClient, NaNClient, ScalingClient, SignFlipClient
from flwr_byzantine import attacks, errors
from flwr_byzantine.adversary import AdversarialGrid, Adversary, Trained, by_partition
from flwr_byzantine.attacks.base import rng_of
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.mount import Broadcast
from flwr_byzantine.flower.records import arrays_of, partition_in
from flwr_byzantine.mods import byzantine_mod

N = 6


def message_app(mods=None):
    app = ClientApp(mods=mods)

    @app.train()
    def train(message, context):
        node = context.node_config["partition-id"]
        arrays = {name: Array(array.numpy() + np.float32(node + 1)) for name, array in message.content["arrays"].items()}
        metrics = MetricRecord({"num-examples": 1, "partition-id": node})
        return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message)

    return app


class Honest(NumPyClient):
    """Adds 1 to every parameter; keeps what labels it saw."""

    def __init__(self):
        super().__init__()
        self.trainloader, self.seen = [(np.zeros(2), np.array([0, 9]))], []

    def fit(self, parameters, config):
        self.seen += [y.tolist() for _, y in self.trainloader]
        return [value + 1 for value in parameters], 5, {}

    def evaluate(self, parameters, config):
        return 0.5, 5, {}


def legacy_app(mods=None):
    return ClientApp(lambda context: Honest().to_client(), mods=mods)


def messages(kind="arrays", config="config"):
    arrays = ArrayRecord({"b": Array(np.zeros((2, 2), np.float32)), "a": Array(np.ones(3, np.float32))})
    if kind != "arrays":
        arrays = ArrayRecord({"0": Array(np.zeros((2, 2), np.float32)), "1": Array(np.ones(3, np.float32))})
    content = RecordDict({kind: arrays, config: ConfigRecord({"server-round": 1})})
    return [Message(content, dst_node_id=i, message_type="train") for i in range(1, N + 1)]


def flat(reply):
    return np.concatenate([value.ravel() for value in arrays_of(reply).values()])


BROADCAST = np.array([0.0] * 4 + [1.0] * 3)


def test_omniscient_grid_replaces_chosen_replies_with_the_attack_on_all_honest_ones():
    grid = AdversarialGrid(LocalGrid(message_app(), N), attacks.IPM(epsilon=1.0), by_partition({0, 1}))
    replies = grid.send_and_receive(messages())
    honest_mean = np.mean([3, 4, 5, 6])
    for reply in replies[:2]:
        np.testing.assert_allclose(flat(reply), BROADCAST - honest_mean, rtol=1e-6)
    for node, reply in enumerate(replies[2:], start=3):
        np.testing.assert_allclose(flat(reply), BROADCAST + node)
    assert grid.attacked == [1, 2]
    assert grid.get_node_ids() == list(range(1, N + 1))


def test_colluders_with_one_reply_to_replace_send_one_and_the_same():
    broadcast, model = Broadcast({"w": np.zeros(3)}), {"w": np.zeros(3)}
    honest = [Trained(k, broadcast, {"w": np.full(3, float(k))}) for k in (2, 3)]
    one, other = Adversary(attacks.IPM(epsilon=2.0)).replies(honest, [Trained(k, broadcast, model) for k in (0, 1)], broadcast)
    assert one is other
    assert one["w"].tolist() == [-5.0] * 3
    longer = {"w": np.zeros(3, np.float32)}
    each = Adversary(attacks.IPM()).replies(honest, [Trained(0, broadcast, model), Trained(1, broadcast, longer)], broadcast)
    assert [reply["w"].dtype for reply in each] == [np.float64, np.float32]


def test_by_node_id_and_own_updates():
    grid = AdversarialGrid(LocalGrid(message_app(), N), attacks.SignFlip(), {2})
    replies = grid.send_and_receive(messages())
    np.testing.assert_allclose(flat(replies[1]), BROADCAST - 2)


@pytest.mark.parametrize("attack", [attacks.SignFlip(scale=3.0), attacks.Scaling(factor=2.0), attacks.Zero()], ids=str)
def test_mod_and_grid_give_the_same_vectors(attack):
    by_mod = LocalGrid(message_app([byzantine_mod(attack, nodes={0, 3})]), N).send_and_receive(messages())
    by_grid = AdversarialGrid(LocalGrid(message_app(), N), attack, {1, 4}).send_and_receive(messages())
    for one, other in zip(by_mod, by_grid, strict=True):
        np.testing.assert_array_equal(flat(one), flat(other))


def test_mod_in_the_legacy_format_gives_what_the_malicious_client_gives():
    replies = LocalGrid(legacy_app([byzantine_mod(attacks.SignFlip(scale=2.0), nodes={1})]), N).send_and_receive(
        messages("fitins.parameters", "fitins.config")
    )
    own = LocalGrid(ClientApp(lambda context: SignFlipClient(Honest(), scale=2.0).to_client()), N).send_and_receive(
        messages("fitins.parameters", "fitins.config")
    )
    np.testing.assert_allclose(flat(replies[0]), BROADCAST + 1)
    np.testing.assert_allclose(flat(replies[1]), BROADCAST - 2)
    np.testing.assert_array_equal(flat(replies[1]), flat(own[1]))


def test_mod_refuses_attacks_that_need_the_honest_updates():
    with pytest.raises(errors.InvalidParameter, match="AdversarialGrid"):
        byzantine_mod(attacks.ALIE())


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: SignFlipClient(Honest(), scale=4.0), -4.0),
        (lambda: ScalingClient(Honest(), factor=7.0), 7.0),
        (lambda: NaNClient(Honest()), np.nan),
    ],
)
def test_malicious_clients_send_what_the_attack_makes_of_the_update(make, expected):
    parameters = [np.ones((2, 2), np.float32), np.zeros(3, np.float32)]
    sent, examples, _ = make().fit(parameters, {})
    assert examples == 5
    for old, new in zip(parameters, sent, strict=True):
        assert new.dtype == np.float32
        np.testing.assert_allclose(new - old, np.full(old.shape, expected))
    assert make().evaluate(parameters, {}) == (0.5, 5, {})


def test_gaussian_client_draws_anew_each_round():
    client = GaussianClient(Honest(), std=0.5)
    first, second = (client.fit([np.zeros(1000)], {})[0][0] for _ in range(2))
    assert not np.array_equal(first, second)
    assert first.std() == pytest.approx(0.5, rel=0.1)


def test_label_flip_client_trains_on_flipped_labels_and_puts_them_back():
    honest = Honest()
    LabelFlipClient(honest).fit([np.zeros(2)], {})
    assert honest.seen == [[9, 0]]
    assert honest.trainloader[0][1].tolist() == [0, 9]
    with pytest.raises(AttributeError, match="found no 'data'; name it by data="):
        LabelFlipClient(honest, data="data")


def test_clients_wrap_numpy_clients_only():
    with pytest.raises(TypeError, match="wraps an honest NumPyClient"):
        SignFlipClient(object())


@pytest.mark.parametrize("said", [float("nan"), float("inf"), -float("inf"), 0.5, [1], "1"])
def test_a_partition_that_is_no_number_is_none(said):
    record = (
        {"config": ConfigRecord({"partition-id": said})} if isinstance(said, str) else {"metrics": MetricRecord({"partition-id": said})}
    )
    assert partition_in(Message(RecordDict(record), 7, "train")) is None


def test_a_reply_that_cannot_be_read_is_left_as_it_is():
    def garbled(reply):
        if reply.metadata.src_node_id in (2, 5):
            reply.content["arrays"]["b"].data = b"garbage"
        return reply

    grid = AdversarialGrid(LocalGrid(message_app(), N, garbled), attacks.IPM(epsilon=1.0), by_partition({0, 1}))
    replies = grid.send_and_receive(messages())
    assert grid.attacked == [1]
    assert [reply.content["arrays"]["b"].data == b"garbage" for reply in replies] == [node in (2, 5) for node in range(1, N + 1)]
    np.testing.assert_allclose(flat(replies[0]), BROADCAST - np.mean([3, 4, 6]), rtol=1e-6)


@pytest.mark.parametrize("attack", [attacks.SignFlip(), attacks.IPM(epsilon=1.0)], ids=str)
def test_clients_that_keep_arrays_to_themselves_are_attacked_in_the_others(attack):
    def kept(reply):
        if reply.metadata.src_node_id != 6:  # which sends all
            del reply.content["arrays"]["a"]
        return reply

    grid = AdversarialGrid(LocalGrid(message_app(), N, kept), attack, {1, 2, 6})
    replies = grid.send_and_receive(messages())
    assert grid.attacked == [1, 2]
    for node, reply in enumerate(replies[:2], start=1):
        expected = -node if isinstance(attack, attacks.SignFlip) else -np.mean([3, 4, 5])
        np.testing.assert_allclose(flat(reply), np.full(4, expected), rtol=1e-6)
    np.testing.assert_allclose(flat(replies[5]), BROADCAST + 6)


def test_attackers_whose_replies_fit_no_model_do_nothing_and_that_is_said():
    def emptied(reply):
        if reply.metadata.src_node_id == 1:
            reply.content["arrays"]["b"] = Array(np.zeros(7, np.float32))
        return reply

    grid = AdversarialGrid(LocalGrid(message_app(), N, emptied), attacks.IPM(), {1})
    grid.send_and_receive(messages())
    assert (grid.attacked, len(grid.notices)) == ([], 1)
    assert "no attacker's reply fits the model" in grid.notices[0]


@pytest.mark.parametrize("partition", [-3, 10**30, 10**400])
def test_any_whole_number_may_be_a_partition_id(partition):
    record = RecordDict({"config": ConfigRecord({"partition-id": partition})})
    assert partition_in(Message(record, 7, "train")) == partition
    assert rng_of(0, 1, partition).random() == rng_of(0, 1, partition).random()
