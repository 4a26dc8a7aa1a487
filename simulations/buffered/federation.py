"""One federation on a simulated clock, in NumPy alone: handwritten digits, nodes that take their time, never answer, or lie."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, Strategy
from sklearn.datasets import load_digits

from flwr_byzantine import TimedGrid
from flwr_byzantine.attacks import Attack
from flwr_byzantine.flower.codec import pack, unpack

HIDDEN, CLASSES, BATCH, LR, TEST = 32, 10, 8, 0.2, 540
Curve = list[tuple[float, float]]  # seconds on the simulated clock, and accuracy of the model that there is from then on


@dataclass(frozen=True)
class Setting:
    """Who takes part. Nodes 1 to `hostile` lie, the next `silent` never answer, the others are honest.

    Attributes:
        nodes, hostile, silent: how many.
        fastest, slowest: seconds of the fastest honest node for one reply, and of the slowest; the others lie evenly between, by lot.
        quick: seconds of a hostile node.
        seed: of data, first model, speeds, batches and the run's draws.
    """

    nodes: int = 50
    hostile: int = 10
    silent: int = 5
    fastest: float = 1.0
    slowest: float = 30.0
    quick: float = 1.0
    seed: int = 0

    @property
    def honest(self) -> list[int]:
        """The honest nodes."""
        return list(range(self.hostile + self.silent + 1, self.nodes + 1))

    @cached_property
    def seconds(self) -> dict[int, float]:
        """Node -> seconds that each reply takes it."""
        spread = np.linspace(self.fastest, self.slowest, len(self.honest)).tolist()
        random.Random(self.seed).shuffle(spread)
        known = dict(zip(self.honest, spread, strict=True))
        return {node: known.get(node, self.quick if node <= self.hostile else math.inf) for node in range(1, self.nodes + 1)}

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, 64) and labels in an order by the seed; the last `TEST` are for testing."""
        x, y = load_digits(return_X_y=True)
        order = np.random.default_rng(self.seed).permutation(len(x))
        return x[order] / 16, y[order]

    def first(self) -> np.ndarray:
        """(d,) the first model: one hidden layer."""
        rng = np.random.default_rng([self.seed, 1])
        parts = [rng.normal(size=(64, HIDDEN)) / 8, np.zeros(HIDDEN), rng.normal(size=(HIDDEN, CLASSES)) / HIDDEN**0.5, np.zeros(CLASSES)]
        return np.concatenate([part.ravel() for part in parts]).astype(np.float32)

    def accuracy(self, model: np.ndarray) -> float:
        """On the images for testing."""
        x, y = (part[-TEST:] for part in self.data)
        return float(np.mean(_scores(_parts(model.astype(np.float64)), x)[1].argmax(axis=1) == y))

    def trained(self, model: np.ndarray, node: int, number: int) -> np.ndarray:
        """(d,) what an honest node makes of a model: one pass over its own images, 25 or so."""
        x, y = (part[:-TEST][node - 1 :: self.nodes] for part in self.data)
        own = model.astype(np.float64)
        for rows in np.array_split(np.random.default_rng([self.seed, node, number]).permutation(len(x)), -(-len(x) // BATCH)):
            own -= LR * _gradient(own, x[rows], y[rows])
        return own.astype(np.float32)


def _parts(model: np.ndarray) -> list[np.ndarray]:
    shapes = [(64, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,)]
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(model, ends), shapes, strict=True)]


def _scores(parts: list[np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hidden = np.maximum(x @ parts[0] + parts[1], 0)
    return hidden, hidden @ parts[2] + parts[3]


def _gradient(model: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(d,) of the mean cross entropy."""
    parts = _parts(model)
    hidden, scores = _scores(parts, x)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    error = (odds / odds.sum(axis=1, keepdims=True) - np.eye(CLASSES)[y]) / len(x)
    below = (error @ parts[2].T) * (hidden > 0)
    return np.concatenate([part.ravel() for part in (x.T @ below, below.sum(axis=0), hidden.T @ error, error.sum(axis=0))])


class Nodes:
    """The ClientApp of all nodes. The hostile ones know what every honest one would answer to the model that they were sent.

    Args:
        setting: who takes part.
        attack: what the hostile ones do; None has them honest.
    """

    def __init__(self, setting: Setting, attack: Attack | None) -> None:
        self.setting, self.attack = setting, attack
        self._sent: dict[int, np.ndarray] = {}  # number of the newest round -> (hostile, d) models

    def __call__(self, message: Message, context: Any) -> Message:
        """The reply of one node."""
        model, number, node = unpack(message.content["arrays"]["w"].data), message.content["config"]["server-round"], context.node_id
        lies = self.attack is not None and node <= self.setting.hostile
        made = self._lies(model, number)[node - 1] if lies else self.setting.trained(model, node, number)
        return Message(RecordDict({"arrays": pack({"w": made}), "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    def _lies(self, model: np.ndarray, number: int) -> np.ndarray:
        """(hostile, d) models that the hostile nodes send in answer to this one."""
        if number not in self._sent:
            own = self.attack.knowledge == "own"
            seen = range(1, self.setting.hostile + 1) if own else self.setting.honest
            updates = np.array([self.setting.trained(model, node, number) - model for node in seen])
            self._sent = {number: (model + self.attack(updates, self.setting.hostile)).astype(np.float32)}
        return self._sent[number]


def learn(
    setting: Setting, attack: Attack | None, make: Callable[[FedAvg], Strategy], rounds: int, enough: float = 1.0, until: float = 2.0
) -> tuple[Curve, Strategy]:
    """How accuracy rises over the seconds of the simulated clock.

    Args:
        setting: who takes part.
        attack: what hostile nodes do.
        make: from a Flower strategy to the robust one.
        rounds: of it, or buffers, at most.
        enough: share of the nodes after whose replies a round that waits goes on.
        until: an accuracy that ends the run when three models in a row have it.
    """
    random.seed(setting.seed)
    np.random.seed(setting.seed)  # noqa: NPY002 - Flower's own and the run's
    grid = TimedGrid(Nodes(setting, attack), setting.nodes, lambda node, count: setting.seconds[node], enough=enough)
    below, curve = FedAvg(fraction_evaluate=0.0, min_available_nodes=1, min_train_nodes=1), []
    strategy = make(below)

    def measure(number: int, arrays: ArrayRecord) -> MetricRecord:
        curve.append((round(grid.time, 3), setting.accuracy(unpack(arrays["w"].data))))
        if all(accuracy >= until for _, accuracy in curve[-3:]):
            raise Reached
        return MetricRecord({})

    with suppress(Reached):
        strategy.start(grid, pack({"w": setting.first()}), rounds, evaluate_fn=measure)
    return curve, strategy


class Reached(Exception):
    """The accuracy that a run was to reach is reached."""


def time_to(curve: Curve, target: float) -> float:
    """The first time from which three models in a row have the accuracy; infinity where none has."""
    found = (curve[k][0] for k in range(len(curve) - 2) if all(accuracy >= target for _, accuracy in curve[k : k + 3]))
    return next(found, math.inf)
