"""Examples, a model's scores and the attacks on data that several tests of poisoning share."""

import math

import numpy as np
import pytest

from flwr_byzantine import attacks


def images(n=40, side=6, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    return (0.9 * rng.random((n, side * side))).astype(np.float32), rng.integers(0, classes, n)


def rng(*seed):
    return np.random.default_rng(list(seed) or 0)


def likes(x):
    """A model: scores by fixed random weights."""
    return np.asarray(x).reshape(len(x), -1) @ np.random.default_rng(9).normal(size=(math.prod(x.shape[1:]), 10))


every = pytest.mark.parametrize(
    "attack",
    [
        attacks.LabelFlip(),
        attacks.LabelFlip(pairs={5: 3, 1: 7}, share=0.5),
        attacks.DynamicLabelFlip(share=0.7),
        attacks.Backdoor(target=2, position="top-right"),
        attacks.DistributedBackdoor(target=2, patch=2, share=0.4),
        attacks.EdgeCaseBackdoor(source=7, target=1, share=0.5),
        attacks.EdgeCaseBackdoor(target=1, examples=images(5, seed=3)[0]),
        attacks.AlternatingMinimization(share=0.5),
        attacks.BackdoorCriticalLayers(target=2),
        attacks.ThreeDFed(target=2),
    ],
    ids=lambda attack: type(attack).__name__ + ("" if getattr(attack, "examples", None) is None else "-examples"),
)


def by_hand(attack, x, y, seed=0, attacker=0):
    return attack.poison(x, y, 10, rng(seed, attacker), attacker=attacker, predict=likes)


def columns(view):
    pairs = list(view)
    return np.stack([np.asarray(x) for x, *_ in pairs]), np.array([int(y) for _, y, *_ in pairs])
