"""The malicious NumPyClients that poison: what they train on, which part is theirs, and that the data are put back."""

import numpy as np
import pytest
import torch
from flwr.client import NumPyClient

import clients
from flwr_byzantine import attacks
from flwr_byzantine.attacks.base import AttackContext
from flwr_byzantine.attacks.poisoning import poisoned
from tests.support import digits
from tests.support.numpy_clients import Learner, flat, parameters

POISONING = [
    (clients.LabelFlipClient, {"pairs": {1: 7}}),
    (clients.DynamicLabelFlipClient, {}),
    (clients.BackdoorClient, {"target": 3, "boost": 4.0}),
    (clients.DistributedBackdoorClient, {"patch": 2}),
    (clients.EdgeCaseBackdoorClient, {"source": 4, "boost": 2.0}),
]
poisoning = pytest.mark.parametrize(("cls", "arguments"), POISONING, ids=[cls.__name__ for cls, _ in POISONING])


def scores_at_start(x):
    with torch.no_grad():
        return digits.network()(x)


@poisoning
def test_poisoning_clients_send_what_training_on_poisoned_data_gives(cls, arguments):
    learner = Learner()
    loader = learner.trainloader
    sent = cls(learner, seed=2, attacker=1, **arguments).fit(parameters(), {})[0]
    assert learner.trainloader is loader
    assert torch.equal(torch.cat([y for _, y in learner.trainloader]), learner.y)

    attack = cls.attack(**arguments)
    x, y = poisoned((learner.x, learner.y), attack, 10, seed=2, attacker=1, predict=scores_at_start)
    assert torch.equal(learner.seen[0], y)
    assert not torch.equal(y, learner.y)
    model = digits.network()
    digits.train(model, x, y, epochs=1)
    update = digits.flat(model) - flat(parameters())
    np.testing.assert_allclose(flat(sent), flat(parameters()) + attack.malicious_update(update, AttackContext()), atol=1e-6)


@poisoning
def test_the_data_is_put_back_when_training_fails(cls, arguments):
    learner = Learner(fails=True)
    loader = learner.trainloader
    with pytest.raises(RuntimeError, match="no more power"):
        cls(learner, **arguments).fit(parameters(), {})
    assert not torch.equal(learner.seen[0], learner.y)
    assert learner.trainloader is loader


def test_masked_backdoor_leaves_the_busiest_coordinates_from_the_second_round_on():
    client = clients.BackdoorClient(Learner(), mask_ratio=0.25)
    first, d = parameters(), len(flat(parameters()))
    client.fit(first, {"server_round": 1})
    step = np.random.default_rng(0).normal(size=d).astype(np.float32)
    cuts = np.cumsum([value.size for value in first])[:-1]
    second = [value + part.reshape(value.shape) for value, part in zip(first, np.split(step, cuts), strict=True)]
    sent = flat(client.fit(second, {"server_round": 2})[0]) - flat(second)
    moved = np.abs(flat(second) - flat(first))
    left_alone = np.argsort(-moved)[: d // 4]
    assert not sent[left_alone].any()
    assert np.count_nonzero(sent) > d / 2


def test_distributed_clients_take_their_part_by_attacker_or_partition():
    def parts(**who):
        learner = Learner()
        marked = []
        learner.fit = lambda start, config: (marked.append(torch.cat([x for x, _ in learner.trainloader]) != learner.x), (start, 1, {}))[1]
        clients.DistributedBackdoorClient(learner, patch=2, pieces=4, value=2.0, share=1.0, **who).fit(parameters(), {})
        return set(torch.nonzero(marked[0].any(0)).ravel().tolist())

    assert [parts(attacker=i) for i in range(4)] == [{54}, {55}, {62}, {63}]
    assert parts(partition=6) == {62}


def test_dynamic_flip_takes_the_broadcast_model_by_function_too():
    def predict(start, x):
        return np.tile(start[0][:10, 0], (len(x), 1))

    learner = Learner()
    start = [np.arange(-v.size, 0, dtype=np.float32).reshape(v.shape) for v in parameters()]
    kept = [value.clone() for value in learner.model.state_dict().values()]
    learner.fit = lambda start, config: (learner.seen.append(torch.cat([y for _, y in learner.trainloader])), (start, 1, {}))[1]
    clients.DynamicLabelFlipClient(learner, predict=predict).fit(start, {})
    assert learner.seen[0].tolist() == [1 if label == 0 else 0 for label in learner.y.tolist()]
    assert all(torch.equal(*pair) for pair in zip(kept, learner.model.state_dict().values(), strict=True))


def test_arrays_and_mappings_as_training_data():
    class Keeps(NumPyClient):
        def __init__(self, data):
            super().__init__()
            self.rows, self.seen = data, None

        def fit(self, start, config):
            self.seen = self.rows
            return start, 1, {}

    arrays = Keeps((np.zeros((3, 4)), np.array([0, 1, 2])))
    clients.LabelFlipClient(arrays, 3, "rows").fit([np.zeros(2)], {})
    assert arrays.seen[1].tolist() == [2, 1, 0]
    assert arrays.rows[1].tolist() == [0, 1, 2]
    mappings = Keeps([{"img": np.zeros(4), "label": 0}])
    clients.LabelFlipClient(mappings, num_classes=10, data="rows", keys=("img", "label")).fit([np.zeros(2)], {})
    assert mappings.seen[0]["label"] == 9


def test_a_federation_of_numpy_clients_learns_the_backdoor():
    def federate(attackers):
        members = [clients.BackdoorClient(Learner(k), attacker=k, boost=3.0) if k < attackers else Learner(k) for k in range(10)]
        start, model = parameters(), digits.network()
        for round in range(1, 9):
            replies = [member.fit(start, {"server_round": round})[0] for member in members]
            start = [np.mean(layer, axis=0) for layer in zip(*replies, strict=True)]
        digits.load(model, flat(start))
        return model

    honest, attacked = federate(0), federate(3)
    assert digits.success(honest, attacks.Backdoor()) < 0.2
    assert digits.success(attacked, attacks.Backdoor()) > 0.6
    assert digits.accuracy(attacked) > digits.accuracy(honest) - 0.03
