"""The malicious NumPyClients: what they send is the attack's, what they train on is poisoned, what they wrapped is as before."""

import inspect

import numpy as np
import pytest
import torch
from flwr.client import NumPyClient
from torch.utils.data import DataLoader, TensorDataset

import clients
from flwr_byzantine import attacks, errors
from flwr_byzantine.attacks.base import AttackContext, rng_of
from flwr_byzantine.attacks.poisoning import poisoned
from flwr_byzantine.attacks.training import malicious_training
from tests.support import digits

START = [np.ones((2, 3), np.float32), np.arange(4, dtype=np.float32)]


class Steps(NumPyClient):
    """Adds round times coordinate to the model."""

    def fit(self, parameters, config):
        return (
            [
                value + np.float32(config["server_round"]) * np.arange(value.size, dtype=value.dtype).reshape(value.shape)
                for value in parameters
            ],
            5,
            {"loss": 1.0},
        )

    def evaluate(self, parameters, config):
        return 0.5, 5, {"accuracy": 0.1}


class Learner(NumPyClient):
    """A network on digits; `fails` raises in the middle of training."""

    def __init__(self, part=0, fails=False):
        super().__init__()
        self.x, self.y = digits.shares()[part]
        self.trainloader = DataLoader(TensorDataset(self.x, self.y), batch_size=16)
        self.model, self.fails, self.seen = digits.network(), fails, []

    def fit(self, parameters, config):
        self.model.load_state_dict(dict(zip(self.model.state_dict(), map(torch.as_tensor, parameters), strict=True)))
        batches = list(self.trainloader)
        self.seen.append(torch.cat([y for _, y in batches]))
        if self.fails:
            raise RuntimeError("no more power")
        digits.train(self.model, torch.cat([x for x, _ in batches]), self.seen[-1], epochs=1)
        return [value.numpy().copy() for value in self.model.state_dict().values()], len(self.seen[-1]), {}


def parameters():
    return [value.numpy() for value in digits.network().state_dict().values()]


def flat(arrays):
    return np.concatenate([np.ravel(value).astype(np.float64) for value in arrays])


THIN = [
    (clients.SignFlipClient, {"scale": 2.0}),
    (clients.ScalingClient, {"factor": 3.0}),
    (clients.GaussianClient, {"std": 0.5}),
    (clients.NaNClient, {"share": 0.5}),
    (clients.InfClient, {"sign": -1}),
    (clients.FreeRiderClient, {}),
    (clients.DisguisedFreeRiderClient, {"gamma": 0.5}),
    (clients.MPAFClient, {"lam": 10.0, "std": 0.5}),
    (clients.SybilClient, {"attack": attacks.SignFlip(scale=3.0), "noise": 0.1}),
    (clients.DriftClient, {"step": 0.25}),
    (clients.OnOffClient, {"attack": attacks.SignFlip(), "start": 2, "on": 1, "period": 2}),
]


def test_every_client_is_listed_sorted_documented_and_every_own_attack_has_one():
    assert clients.__all__ == sorted(clients.__all__)
    found = [getattr(clients, name) for name in clients.__all__]
    assert all(issubclass(cls, clients.MaliciousClient) and "attacks." in inspect.getdoc(cls) for cls in found if hasattr(cls, "attack"))
    mounted = {cls.attack for cls in found if hasattr(cls, "attack")}
    assert mounted == {cls for cls in attacks.available() if cls.knowledge == "own"}


@pytest.mark.parametrize(("cls", "arguments"), THIN, ids=[cls.__name__ for cls, _ in THIN])
def test_over_rounds_each_client_sends_what_its_attack_makes_of_the_update(cls, arguments):
    client, attack = cls(Steps(), seed=7, partition=3, **arguments), cls.attack(**arguments)
    model, previous, memory = START, None, {}
    for round in (1, 2, 3):
        sent, examples, metrics = client.fit(model, {"server_round": round})
        honest = flat(Steps().fit(model, {"server_round": round})[0]) - flat(model)

        def context(round=round, model=model, previous=previous, memory=memory):
            return AttackContext(round, previous, rng_of(7, round, 3), memory=memory, broadcast=flat(model))

        expected = attack.malicious_update(honest, context())
        np.testing.assert_allclose(flat(sent), flat(model) + expected, rtol=1e-5)
        assert (examples, metrics, [value.dtype for value in sent]) == (5, {"loss": 1.0}, [np.float32] * 2)
        memory = attack.next_memory(honest[None], 1, context())
        moved = [value + np.float32(round / 8) for value in model]
        model, previous = moved, flat(moved) - flat(model)
    assert client.evaluate(model, {}) == (0.5, 5, {"accuracy": 0.1})


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


def own_training(start):
    """Arrays and (x, y) to arrays, and to scores: what `Learner` trains."""

    def train(arrays, data):
        net = digits.network()
        net.load_state_dict(dict(zip(start, map(torch.as_tensor, arrays), strict=True)))
        digits.train(net, *data, epochs=1)
        return [value.numpy().copy() for value in net.state_dict().values()]

    def scores(arrays, x):
        net = digits.network()
        net.load_state_dict(dict(zip(start, map(torch.as_tensor, arrays), strict=True)))
        return net(x).detach()

    return train, scores


@pytest.mark.parametrize(
    "cls",
    [clients.AlternatingMinimizationClient, clients.BackdoorCriticalLayersClient, clients.ThreeDFedClient],
    ids=lambda cls: cls.__name__,
)
def test_a_client_lets_the_attack_train_by_its_own_fit_and_tells_its_own_number_of_examples(cls):
    learner = Learner()
    loader, start = learner.trainloader, parameters()
    sent, examples, _ = cls(learner, seed=2, attacker=1).fit(start, {})
    train, scores = own_training(digits.network().state_dict())
    expected = malicious_training(cls.attack(), start, (learner.x, learner.y), train, scores, num_classes=10, seed=2, attacker=1)
    np.testing.assert_allclose(flat(sent), flat(expected), atol=1e-6)
    assert examples == len(learner.y)
    assert learner.trainloader is loader
    assert not np.allclose(flat(sent), flat(train(start, (learner.x, learner.y))), atol=1e-4)


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


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: clients.BackdoorClient(Steps()),
            AttributeError,
            "BackdoorClient needs the training data of Steps .* found no 'trainloader'",
        ),
        (lambda: clients.DynamicLabelFlipClient(Learner(), model="net"), AttributeError, "needs the torch module of Learner .* by model="),
        (lambda: clients.BackdoorClient(object()), TypeError, "BackdoorClient wraps an honest NumPyClient"),
        (lambda: clients.BackdoorClient(Learner(), boost=0), errors.InvalidParameter, "Backdoor: boost must be a number > 0, got 0"),
        (lambda: clients.BackdoorClient(Learner(), attacker=-1).fit(parameters(), {}), errors.InvalidParameter, "attacker must be"),
        (lambda: clients.LabelFlipClient(Learner(), num_classes=5).fit(parameters(), {}), errors.InvalidParameter, "check num_classes"),
        (lambda: clients.OnOffClient(Steps(), attack=attacks.LabelFlip()), errors.InvalidParameter, "poisons training data"),
    ],
)
def test_mistakes_get_one_clear_sentence(make, error, message):
    with pytest.raises(error, match=message):
        make()
