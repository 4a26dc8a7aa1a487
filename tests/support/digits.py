"""Federated averaging of a small network on scikit-learn's digits, with attackers on their data: what the data attacks are tried on."""

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from flwr_byzantine.attacks.base import AttackContext
from flwr_byzantine.attacks.poisoning import attack_success_rate, poisoned, predictor

CLIENTS, CLASSES = 10, 10


@cache
def split():
    x, y = load_digits(return_X_y=True)
    parts = train_test_split((x / 16).astype(np.float32), y, test_size=0.3, random_state=0, stratify=y)
    return tuple(torch.from_numpy(part) for part in parts)


def shares():
    """Ten IID parts (x, y) of the training data."""
    train_x, _, train_y, _ = split()
    return [(train_x[k::CLIENTS], train_y[k::CLIENTS]) for k in range(CLIENTS)]


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, CLASSES))


def flat(model):
    return np.concatenate([value.detach().numpy().ravel() for value in model.parameters()]).astype(np.float64)


def load(model, vector):
    torch.nn.utils.vector_to_parameters(torch.from_numpy(np.asarray(vector, dtype=np.float32)), model.parameters())


def train(model, x, y, epochs=2, lr=0.2, batch=16):
    """Plain SGD in the order of the data; so small a network is slower with more than one thread."""
    torch.set_num_threads(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        for part in torch.arange(len(x)).split(batch):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[part]), y[part]).backward()
            optimizer.step()


def accuracy(model):
    _, test_x, _, test_y = split()
    return float((predictor(model)(test_x).argmax(1) == test_y).float().mean())


def federate(attack=None, attackers=(), rule=lambda rows: rows.mean(axis=0), rounds=10, data=None, during=lambda r: True):
    """The global model after `rounds` in which `attackers` train on poisoned data and send what the attack makes of it."""
    model, data, previous = network(), data or shares(), None
    for round in range(1, rounds + 1):
        start, rows = flat(model), []
        for k, (x, y) in enumerate(data):
            bad = k in attackers and during(round)
            if bad:
                x, y = poisoned((x, y), attack, CLASSES, attacker=list(attackers).index(k), predict=predictor(network_at(start)))
            local = network_at(start)
            train(local, x, y)
            update = flat(local) - start
            rows.append(attack.malicious_update(update, AttackContext(round=round, previous=previous)) if bad else update)
        previous = rule(np.array(rows))
        load(model, start + previous)
    return model


def network_at(vector):
    model = network()
    load(model, vector)
    return model


def success(model, attack):
    _, test_x, _, test_y = split()
    return attack_success_rate(model, attack, test_x, test_y, CLASSES)
