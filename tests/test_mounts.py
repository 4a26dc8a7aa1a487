"""One mount contract: mod, NumPyClient and Grid send the same bytes, for every attack that a client can carry out."""

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.client import NumPyClient

from clients import PoisoningClient
from flwr_byzantine import attacks
from flwr_byzantine.adversary import AdversarialGrid, by_partition
from flwr_byzantine.attacks.poisoning import poisoned
from flwr_byzantine.client import gradient
from flwr_byzantine.experiments.tasks import Task, training
from flwr_byzantine.experiments.tasks.client import client_app, config_of
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.flower.codec import pack
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.records import GRADIENT, REPLY, arrays_of
from flwr_byzantine.mods import byzantine_mod
from tests.support.mounts import BAD, CLASSES, SEED, clients_of, data_of, legacy_app, message_app, sent_by

MODES = pytest.mark.parametrize("kind", ["model", GRADIENT])


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
