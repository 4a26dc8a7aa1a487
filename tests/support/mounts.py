"""A federation whose attackers are mounted as mod, NumPyClient or Grid, in both formats of messages: what each of its nodes sends."""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

from clients import ModelAttackClient, PoisoningClient
from flwr_byzantine.attacks.poisoning import poisoned
from flwr_byzantine.attacks.training import TrainingAttack, malicious_training
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.records import GRADIENT, REPLY, arrays_of

N, SEED, CLASSES = 6, 5, 10
BAD = {0, 3}  # partitions; nodes 1 and 4
ROUNDS = {1: range(1, N + 1), 2: (1, 2, 3), 4: range(1, N + 1), 6: (1, 4, 5), 7: range(1, N + 1)}  # round -> who is asked
SHAPES = {"w": ((3, 4), "f4"), "half": ((5,), "f2"), "scale": ((), "f8"), "counter": ((), "i8"), "mask": ((3,), "?"), "bytes": ((2,), "u1")}


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


class Constant(NumPyClient):
    """Answers with [1, 2], whatever it is sent."""

    def fit(self, parameters, config):
        return [np.array([1.0, 2.0])], 1, {}
