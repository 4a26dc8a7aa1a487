"""One mount contract: mod, NumPyClient and Grid send the same bytes, for every attack that a client can carry out."""

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

from clients import ModelAttackClient, PoisoningClient, SignFlipClient
from flwr_byzantine import attacks
from flwr_byzantine.adversary import AdversarialGrid, by_partition
from flwr_byzantine.attacks.poisoning import poisoned
from flwr_byzantine.attacks.training import TrainingAttack, malicious_training
from flwr_byzantine.client import gradient
from flwr_byzantine.experiments.tasks import Task, training
from flwr_byzantine.experiments.tasks.client import client_app, config_of
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.flower.codec import pack
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.mount import Broadcast
from flwr_byzantine.flower.records import GRADIENT, REPLY, arrays_of
from flwr_byzantine.mods import byzantine_mod

N, SEED, CLASSES = 6, 5, 10
BAD = {0, 3}  # partitions; nodes 1 and 4
ROUNDS = {1: range(1, N + 1), 2: (1, 2, 3), 4: range(1, N + 1), 6: (1, 4, 5), 7: range(1, N + 1)}  # round -> who is asked
SHAPES = {"w": ((3, 4), "f4"), "half": ((5,), "f2"), "scale": ((), "f8"), "counter": ((), "i8"), "mask": ((3,), "?"), "bytes": ((2,), "u1")}
MODES = pytest.mark.parametrize("kind", ["model", GRADIENT])


def broadcast(round):
    """Name -> array: what is broadcast in a round; one weight is -inf, as in attention masks."""
    rng = np.random.default_rng([1, round])
    values = {name: np.asarray(2 * rng.normal(size=shape) + 1) for name, (shape, _) in SHAPES.items()}
    found = {
        name: (values[name] > 0) if kind == "?" else np.abs(values[name]) if kind == "u1" else values[name]
        for name, (_, kind) in SHAPES.items()
    }
    made = {name: np.asarray(value).astype(SHAPES[name][1]) for name, value in found.items()}
    made["w"][0, 0] = -np.inf
    return made


def data_of(partition):
    rng = np.random.default_rng([2, partition])
    return rng.random((12, 4, 4)), rng.permutation(np.arange(12) % CLASSES)


def scores(arrays, x):
    """(n, CLASSES) what a broadcast model says of the examples."""
    return x.reshape(len(x), -1)[:, :CLASSES] * float(list(arrays)[2])


def learnt(arrays, data, round, kind):
    """An honest reply: a model moved by, or a gradient made of, the data."""
    x, y = data
    weights = np.random.default_rng([3, round]).normal(0.1, 0.02, x.size + y.size)
    push = weights @ np.concatenate([x.ravel(), y])
    moves = [np.linspace(-push, push, old.size).reshape(old.shape) for old in arrays]
    return [_cast(move if kind == GRADIENT else old + move, old) for old, move in zip(arrays, moves, strict=True)]


def _cast(values, old):
    if old.dtype.kind == "b":
        return np.asarray(values > 0)
    return np.asarray(np.clip(values, 0, 255) if old.dtype.kind == "u" else values).astype(old.dtype)


class Member:
    """Data of one client under an attack; attackers who share their update have the same data."""

    def __init__(self, attack, partition):
        self.attack, self.partition, self.bad = attack, partition, partition in BAD
        self.clean = data_of(min(BAD) if self.bad and attack.shares_update else partition)

    def data(self, arrays):
        """What it trains on: poisoned where the attack does that."""
        if not self.bad:
            return self.clean
        return poisoned(self.clean, self.attack, CLASSES, SEED, self.partition, predict=lambda x: scores(arrays, x))

    def learnt(self, arrays, round, kind):
        """Its honest reply, or what it has trained in the attack's own way."""
        if not (self.bad and isinstance(self.attack, TrainingAttack)) or kind == GRADIENT:
            return learnt(arrays, self.data(arrays), round, kind)

        def train(model, data):
            return learnt(model, data, round, kind)

        return malicious_training(self.attack, arrays, self.clean, train, scores, num_classes=CLASSES, seed=SEED, attacker=self.partition)


def message_app(attack, mods=None, **_):
    app = ClientApp(mods=mods)

    @app.train()
    def train(message, context):
        partition, config = context.node_config["partition-id"], next(iter(message.content.config_records.values()))
        model = arrays_of(message)
        values = list(model.values())
        sent = Member(attack, partition).learnt(values, int(config["now"]), config.get(REPLY))
        record = ArrayRecord({name: Array(value) for name, value in zip(model, sent, strict=True)})
        return Message(RecordDict({"arrays": record, "metrics": MetricRecord({"partition-id": partition})}), reply_to=message)

    return app


class Trainer(NumPyClient):
    """The honest client of the legacy API; `trainloader` may have been poisoned by whoever wraps it."""

    def __init__(self, member, own_poison):
        super().__init__()
        self.member, self.own_poison, self.trainloader = member, own_poison, member.clean

    def fit(self, parameters, config):
        round, kind = int(config["now"]), config.get(REPLY)
        sent = self.member.learnt(parameters, round, kind) if self.own_poison else learnt(parameters, self.trainloader, round, kind)
        for value in parameters:
            value[...] = 0  # an honest client may do what it likes with its copy
        return sent, 1, {"partition-id": self.member.partition}


def legacy_app(attack, mods=None, wrap=None):
    def client(context):
        member = Member(attack, context.node_config["partition-id"])
        honest = Trainer(member, own_poison=wrap is None)
        return (wrap(honest, context) if wrap and member.bad else honest).to_client()

    return ClientApp(client, mods=mods)


def clients_of(attack):
    """A NumPyClient that mounts any attack."""
    if attack.poisons:
        return lambda honest, context: PoisoningClient.of(attack, honest, seed=SEED, context=context, predict=scores)
    return lambda honest, context: ModelAttackClient.of(attack, honest, seed=SEED, context=context)


def sent_by(make, attack, kind, legacy=False, mount=lambda grid: grid, **options):
    """(round, node) -> bytes of the reply's arrays; each round has a new ClientApp, as each message has its own process in a SuperNode."""
    inner = LocalGrid(None, N)
    grid, replies = mount(inner), {}
    for round, nodes in ROUNDS.items():
        inner.client_app = make(attack, **options)
        arrays = {str(place) if legacy else name: Array(value) for place, (name, value) in enumerate(broadcast(round).items())}
        keys = ("fitins.parameters", "fitins.config") if legacy else ("arrays", "config")
        config = ConfigRecord({"now": round, "server_round" if legacy else "server-round": round, REPLY: kind})
        content = RecordDict({keys[0]: ArrayRecord(arrays), keys[1]: config})
        found = grid.send_and_receive([Message(content, dst_node_id=node, message_type="train") for node in nodes])
        assert [reply.error.reason for reply in found if reply.has_error()] == []
        for reply in found:
            replies[round, reply.metadata.src_node_id] = [array.data for array in next(iter(reply.content.array_records.values())).values()]
    return replies


OWN = [cls() for cls in attacks.available() if cls.knowledge == "own"] + [
    attacks.OnOff(attack=attacks.Drift(), start=2, on=1, period=2),
    attacks.OnOff(attack=attacks.Gaussian(), start=1, on=2, period=3),
    attacks.Sybil(attack=attacks.DisguisedFreeRider(), noise=0.1),
    attacks.Drift(direction="random"),
    attacks.DisguisedFreeRider(gamma=0.0),
    attacks.Backdoor(boost=3.0, mask_ratio=0.25),
    attacks.ThreeDFed(colluders=2, boost=3.0),
]


@MODES
@pytest.mark.parametrize("attack", OWN, ids=repr)
def test_mod_client_and_grid_send_the_same_bytes_in_both_formats(attack, kind):
    mods, on_grid = [byzantine_mod(attack, nodes=BAD, seed=SEED)], lambda grid: AdversarialGrid(grid, attack, by_partition(BAD), seed=SEED)
    by_mod = sent_by(message_app, attack, kind, mods=mods)
    others = {
        "Grid": sent_by(message_app, attack, kind, mount=on_grid),
        "legacy mod": sent_by(legacy_app, attack, kind, legacy=True, mods=mods),
        "legacy Grid": sent_by(legacy_app, attack, kind, legacy=True, mount=on_grid),
        "NumPyClient": sent_by(legacy_app, attack, kind, legacy=True, wrap=clients_of(attack)),
    }
    for name, found in others.items():
        assert found == by_mod, name
    honest = sent_by(message_app, attacks.SignFlip(), kind)
    attacked = {node for (_, node), sent in by_mod.items() if sent != honest[_, node]}
    unsuccessful = isinstance(attack, attacks.BackdoorCriticalLayers) and kind != GRADIENT  # no layer of this model carries a backdoor
    assert attacked == (set() if unsuccessful else {partition + 1 for partition in BAD})


def test_the_attacks_tried_are_all_that_clients_can_carry_out():
    assert {type(attack) for attack in OWN} == {cls for cls in attacks.available() if issubclass(cls, attacks.OwnAttack)}
    assert sum(attack.poisons for attack in OWN) >= 5


class Constant(NumPyClient):
    """Answers with [1, 2], whatever it is sent."""

    def fit(self, parameters, config):
        return [np.array([1.0, 2.0])], 1, {}


def test_a_client_under_byzantine_sgd_acts_on_the_gradient():
    model = [np.array([10.0, 10.0])]
    assert SignFlipClient(Constant()).fit(model, {REPLY: GRADIENT})[0][0].tolist() == [-1.0, -2.0]
    assert SignFlipClient(Constant()).fit(model, {})[0][0].tolist() == [19.0, 18.0]


class TaskTrainer(NumPyClient):
    """The honest client of a Task, as a user of the legacy API would write it."""

    def __init__(self, task, partition):
        super().__init__()
        self.task, self.partition, self.trainloader = task, partition, training.local_data(task, partition)
        self.model = model(task)

    def fit(self, parameters, config):
        for value, new in zip(self.model.state_dict().values(), parameters, strict=True):
            value.copy_(torch.as_tensor(new))
        randomness = training.randomness(self.task, self.partition, config["server-round"])
        if self.task.method == "byzantine-sgd":
            (x, y), rows = self.trainloader, training.one_batch(self.task, len(self.trainloader[1]), randomness)
            return list(gradient(self.model, training.objective(self.task), [(x[rows], y[rows])]).arrays.values()), 1, {}
        training.train(self.model, self.task, *self.trainloader, randomness)
        return [value.numpy().copy() for value in self.model.state_dict().values()], 1, {}


DATA = [attack for attack in OWN if attack.poisons]


@pytest.mark.parametrize("method", ["local-sgd", "byzantine-sgd"])
@pytest.mark.parametrize("attack", DATA, ids=repr)
def test_sweeps_poison_as_the_numpy_client_does(attack, method):
    """The clients of experiments poison their data by what the message says, and the Grid boosts or masks."""
    task = Task(num_clients=4, num_malicious=2, local_epochs=1, hidden=(8,), seed=3, method=method)
    grid = AdversarialGrid(LocalGrid(client_app(), task.num_clients), attack, by_partition({0, 1}), seed=task.seed)
    client = PoisoningClient.of(attack, TaskTrainer(task, 1), seed=task.seed, partition=1)
    extra = {REPLY: GRADIENT} if method == "byzantine-sgd" else {}
    for round in (1, 2, 3):
        rng = np.random.default_rng(round)
        arrays = {name: rng.normal(0, 0.1, value.shape).astype(np.float32) for name, value in model(task).state_dict().items()}
        config = {**extra, "server-round": round}
        content = RecordDict({"arrays": pack(arrays), "config": ConfigRecord({**config_of(task, attack), **config})})
        replies = grid.send_and_receive([Message(content, dst_node_id=node, message_type="train") for node in (1, 2, 3, 4)])
        assert not replies[1].has_error(), replies[1].error.reason
        sent = client.fit(list(arrays.values()), config)[0]
        assert [value.tobytes() for value in arrays_of(replies[1]).values()] == [value.tobytes() for value in sent]


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
        {"a": np.zeros(2)},
        {"a": np.zeros(3), "b": np.zeros(2)},
        {"a": np.zeros(2), "b": np.zeros(2), "c": np.zeros(1)},
        {"a": np.array(["x", "y"]), "b": np.zeros(2)},
    ],
    ids=["nothing", "too few", "another size", "too many", "words"],
)
def test_a_reply_unlike_the_model_is_left_as_it_is_by_every_mount(reply):
    model = {"a": np.zeros(2), "b": np.zeros((2, 1))}
    assert not Broadcast(model).fits(reply)

    def make(mods=None):
        app = ClientApp(mods=mods)

        @app.train()
        def train(message, context):
            metrics = MetricRecord({"partition-id": context.node_config["partition-id"]})
            return Message(RecordDict({"arrays": ArrayRecord({n: Array(v) for n, v in reply.items()}), "m": metrics}), reply_to=message)

        return app

    class Odd(NumPyClient):
        def fit(self, parameters, config):
            return list(reply.values()), 1, {}

    asked = [
        Message(RecordDict({"arrays": pack(model), "config": ConfigRecord({})}), dst_node_id=node, message_type="train") for node in (1, 2)
    ]
    grid = AdversarialGrid(LocalGrid(make(), 2), attacks.SignFlip(), {1})
    for replies in (LocalGrid(make([byzantine_mod(attacks.SignFlip())]), 2).send_and_receive(asked), grid.send_and_receive(asked)):
        assert all(arrays_of(got).keys() == reply.keys() for got in replies)
        assert all(np.array_equal(value, reply[name]) for got in replies for name, value in arrays_of(got).items())
    assert grid.attacked == []
    sent = SignFlipClient(Odd()).fit(list(model.values()), {})[0]
    assert all(np.array_equal(*pair) for pair in zip(sent, reply.values(), strict=True))


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


def test_poisoning_of_a_client_and_of_a_pair_is_the_same_view():
    x, y = data_of(4)
    seen = {}

    class Keeps(NumPyClient):
        trainloader = (x, y)

        def fit(self, parameters, config):
            seen["data"] = self.trainloader
            return parameters, 1, {}

    PoisoningClient.of(attacks.Backdoor(), Keeps(), seed=SEED, partition=4).fit([np.zeros(2)], {})
    expected = poisoned((x, y), attacks.Backdoor(), CLASSES, SEED, 4)
    assert all(np.array_equal(*pair) for pair in zip(seen["data"], expected, strict=True))
