"""The malicious NumPyClients: which there are, that what they send is the attack's, and mistakes."""

import inspect

import numpy as np
import pytest
import torch

import clients
from flwr_byzantine import attacks, errors
from flwr_byzantine.attacks.base import AttackContext, rng_of
from flwr_byzantine.attacks.training import malicious_training
from tests.support import digits
from tests.support.numpy_clients import Learner, Steps, flat, parameters

START = [np.ones((2, 3), np.float32), np.arange(4, dtype=np.float32)]
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
