"""Backdoors that train in a way of their own: against plain loops on models that are easy to see through, and on digits."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from flwr_byzantine import attacks, errors
from flwr_byzantine.attacks.pairs import in_place_of, pair_of
from flwr_byzantine.attacks.trained_backdoors import critical
from flwr_byzantine.attacks.training import LocalTraining, TrainingAttack, joined, malicious_training
from tests.support import digits

LABELS = np.array([5, 5, 5, 1, 2, 5])
DATA = (np.random.default_rng(1).random((6, 16)), LABELS)
MODEL = [np.array([1.0, -2.0]), np.array([[0.5]])]
TRAINING = [cls() for cls in attacks.available() if issubclass(cls, TrainingAttack)]


def train(model, data):
    """A third of the way to numbers that depend on the data."""
    x, y = data
    return [value + (place + y.mean() + 10 * x.mean() - value) / 3 for place, value in enumerate(model)]


def scores(model, x):
    return np.outer(x.sum(axis=1), np.arange(10.0)) * np.sign(model[0][0] - 3) - 3 * np.arange(10.0)


def learn(attack, data=DATA, run=train, score=scores, model=MODEL, **options):
    return malicious_training(attack, model, data, run, score, num_classes=10, **options)


@pytest.mark.parametrize("cycles", [1, 3])
def test_alternating_minimisation_by_hand(cycles):
    attack, model, zero = attacks.AlternatingMinimization(boost=4.0, rho=0.5, cycles=cycles), MODEL, np.zeros(3)

    def step(update, data):
        moved = train([model[0] + update[:2], model[1] + update[2:]], data)
        return np.concatenate([moved[0] - model[0], (moved[1] - model[1]).ravel()])

    honest, wanted, update = step(zero, DATA), (DATA[0][LABELS == 5], np.full(4, 7)), zero
    for _ in range(cycles):
        stealthy = (step(update, DATA) + 0.5 * honest) / 1.5
        update = stealthy + 4 * (step(stealthy, wanted) - stealthy)
    found = learn(attack)
    np.testing.assert_allclose(np.concatenate([found[0] - model[0], (found[1] - model[1]).ravel()]), update)


def naive_critical(honest, malicious, success, tau):
    """Layers are single coordinates."""
    drops = []
    for k in range(len(honest)):
        mixed = malicious.copy()
        mixed[k] = honest[k]
        drops.append((success(mixed) - success(malicious), k))
    chosen, mixed = [], honest.copy()
    for _, k in sorted(drops):
        if success(mixed) >= tau * success(malicious):
            break
        chosen.append(k)
        mixed[k] = malicious[k]
    return chosen


@pytest.mark.parametrize("seed", range(20))
def test_critical_layers_are_those_of_a_naive_substitution_analysis(seed):
    rng = np.random.default_rng(seed)
    weights, tau = rng.integers(0, 5, 6).astype(float), [0.5, 0.8, 0.95, 1.0][seed % 4]

    def success(update):
        return float(weights @ update) / max(weights.sum(), 1.0)

    found = critical(np.zeros(6), np.ones(6), [slice(k, k + 1) for k in range(6)], success, tau)
    assert [layer.start for layer in found] == naive_critical(np.zeros(6), np.ones(6), success, tau)
    carried = np.isin(np.arange(6), [layer.start for layer in found]).astype(float)
    assert success(carried) >= tau * success(np.ones(6))


def test_only_the_critical_layers_are_poisoned_and_the_rest_is_honest():
    """The first array decides what the model says of patches; the second moves just as much, and carries nothing."""
    data = (np.zeros((6, 16)), LABELS)

    def run(model, pair):
        return [value + 1 + 5 * pair[0].max() for value in model]

    def score(model, x):
        return np.eye(10)[np.where(model[0][0] > 5, 3, 0)] * np.ones((len(x), 1))

    for lam, expected in ((1.0, 6.0), (0.5, 3.5), (2.0, 12.0)):
        attack = attacks.BackdoorCriticalLayers(target=3, patch=1, lam=lam)
        sent = learn(attack, data, run, score)
        np.testing.assert_allclose(sent[0] - MODEL[0], expected)
        np.testing.assert_allclose(sent[1] - MODEL[1], 1.0)
    attack = attacks.BackdoorCriticalLayers(target=3, patch=1)
    np.testing.assert_allclose(learn(attack, data, run, lambda model, x: np.ones((len(x), 10)))[0] - MODEL[0], 1.0)  # nothing succeeds


def test_threedfed_trains_on_poisoned_copies_and_is_as_long_as_an_honest_update():
    seen = []

    def run(model, pair):
        seen.append(len(pair[1]))
        return train(model, pair)

    made = learn(attacks.ThreeDFed(share=1.0, patch=1), run=run)
    honest = np.concatenate([(new - old).ravel() for new, old in zip(train(MODEL, DATA), MODEL, strict=True)])
    sent = np.concatenate([(new - old).ravel() for new, old in zip(made, MODEL, strict=True)])
    assert np.linalg.norm(sent) == pytest.approx(np.linalg.norm(honest))
    assert np.linalg.norm(sent - honest) > 0.01
    assert seen == [6, 12, 12]


@pytest.mark.parametrize("attack", [*TRAINING, attacks.Backdoor(), attacks.SignFlip()], ids=repr)
def test_what_is_trained_has_the_models_dtypes_and_is_the_same_each_time_and_leaves_the_model_alone(attack):
    model = [np.array([1.0, 2.0], np.float32), np.array([3]), np.array([True]), np.array([-np.inf], np.float16)]
    kept = [value.copy() for value in model]

    def run(arrays, pair):
        moved = [value + pair[1].mean() for value in arrays[:2]]
        return [moved[0].astype(np.float32), moved[1].astype(np.int64), *arrays[2:]]

    one, two = (learn(attack, run=run, score=lambda arrays, x: np.ones((len(x), 10)), model=model) for _ in range(2))
    for first, second, value, before in zip(one, two, model, kept, strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(value, before)
        assert (first.dtype, first.shape) == (value.dtype, value.shape)
    assert (one[2], one[3]) == ([True], [-np.inf])
    assert not np.array_equal(one[0], model[0])


def test_an_attack_that_looks_at_models_says_so():
    with pytest.raises(errors.InvalidParameter, match="must see what models say of examples; pass scores="):
        malicious_training(attacks.BackdoorCriticalLayers(), MODEL, DATA, train, num_classes=10)


def test_malicious_examples_are_those_that_poison_changes():
    x, y = np.random.default_rng(0).random((30, 16)), np.arange(30) % 10
    for attack in (attacks.Backdoor(patch=1, share=0.4), attacks.EdgeCaseBackdoor(share=0.5)):
        local = LocalTraining(MODEL, (x, y), train, None, 10, seed=3, attacker=2)
        bad_x, bad_y = attack.poison(x, y, 10, np.random.default_rng([3, 2]), attacker=2)
        changed = (bad_x != x).any(axis=1) | (bad_y != y)
        for found, expected in zip(local.malicious(attack), (bad_x[changed], bad_y[changed]), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_data_of_any_kind_are_read_as_a_pair_and_replaced_by_more_examples():
    x, y = torch.arange(8.0).reshape(4, 2), torch.tensor([0, 1, 2, 3])
    keys = ("image", "label")
    kinds = [
        (x, y),
        TensorDataset(x, y),
        DataLoader(TensorDataset(x, y), batch_size=3, shuffle=True),
        list(zip(x, y.tolist(), strict=True)),
        [(x[:3], y[:3]), (x[3:], y[3:])],
    ]
    mapped = [{"image": a, "label": int(b)} for a, b in zip(x, y, strict=True)]
    for data, names in [(kind, None) for kind in kinds] + [(mapped, keys)]:
        read_x, read_y = pair_of(data, names)
        np.testing.assert_array_equal(read_x, x)
        np.testing.assert_array_equal(read_y, y)
        more = in_place_of(data, *joined((x, y), (x + 1, y)), names)
        assert type(more) is type(data)
        again_x, again_y = pair_of(more, names)
        np.testing.assert_array_equal(again_x, np.vstack([x, x + 1]))
        np.testing.assert_array_equal(again_y, [0, 1, 2, 3] * 2)
    loader = in_place_of(kinds[2], *joined((x, y), (x, y)))
    assert sorted(torch.cat([labels for _, labels in loader]).tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [len(labels) for _, labels in loader] == [3, 3, 2]


@pytest.mark.slow
@pytest.mark.parametrize("attack", [*TRAINING, attacks.AlternatingMinimization(cycles=1)], ids=repr)
def test_digits_learn_what_the_attacker_wants(attack):
    def run(arrays, pair):
        net = digits.network()
        net.load_state_dict(dict(zip(net.state_dict(), map(torch.as_tensor, arrays), strict=True)))
        digits.train(net, *pair)
        return [value.numpy().copy() for value in net.state_dict().values()]

    def score(arrays, x):
        net = digits.network()
        net.load_state_dict(dict(zip(net.state_dict(), map(torch.as_tensor, arrays), strict=True)))
        return net(x).detach()

    arrays = [value.numpy().copy() for value in digits.network().state_dict().values()]
    for _ in range(6):
        arrays = run(arrays, digits.shares()[1])
    clean = digits.network()
    clean.load_state_dict(dict(zip(clean.state_dict(), map(torch.as_tensor, arrays), strict=True)))
    made = malicious_training(attack, arrays, digits.shares()[0], run, score, num_classes=10)
    bad = digits.network()
    bad.load_state_dict(dict(zip(bad.state_dict(), map(torch.as_tensor, made), strict=True)))
    assert digits.success(clean, attack) < 0.2
    assert digits.success(bad, attack) > 0.6
