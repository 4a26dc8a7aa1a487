"""Attacks that train in a way of their own: what they see of their client's training, and how an app lets them train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.conversion import as_numpy, is_tensor
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.data import DataAttack, as_array, poisoning_rng
from flwr_byzantine.attacks.poisoning import poisoned
from flwr_byzantine.errors import InvalidParameter

Pair = tuple[Any, Any]
Train = Callable[[list[Array], Pair], Sequence[Any]]
Scores = Callable[[list[Array], Any], Any]


@dataclass(frozen=True)
class LocalTraining:
    """A malicious client's own training, as a `TrainingAttack` uses it; models are (d,) float64 updates of the broadcast one.

    Attributes:
        model: the broadcast model's arrays.
        clean: the client's examples and labels (x, y).
        run: from arrays and (x, y) to the arrays that the client's training makes of them.
        score: from arrays and k examples to (k, num_classes) scores.
        num_classes: number of classes.
        seed: of the choice of poisoned examples.
        attacker: number of the attacker, from 0.
    """

    model: list[Array]
    clean: Pair
    run: Train
    score: Scores | None
    num_classes: int
    seed: int = 0
    attacker: int = 0

    @property
    def start(self) -> Array:
        """(d,) the broadcast model: zeros."""
        return np.zeros(sum(value.size for value in self.model))

    def train(self, update: Array, data: Pair) -> Array:
        """(d,) what the client's training on (x, y) makes of the model; the model itself where there are no examples."""
        return _update(self.run(_arrays(self.model, update), data), self.model) if len(data[1]) else update

    def malicious(self, attack: DataAttack) -> Pair:
        """(x, y) the poisoned examples alone."""
        x, y = (as_array(part) for part in self.clean)
        rng = [poisoning_rng(self.seed, self.attacker) for _ in range(2)]
        rows, _ = attack.choose(x, y, self.num_classes, rng[0])
        bad_x, bad_y = attack.poison(x, y, self.num_classes, rng[1], attacker=self.attacker)
        return bad_x[rows], bad_y[rows]

    def success(self, update: Array, shown: Pair) -> float:
        """Share of the examples (x, wanted labels) that the model classifies as wanted; 1 where there are none."""
        if self.score is None:
            raise InvalidParameter("this attack must see what models say of examples; pass scores=, from arrays and examples to scores")
        x, wanted = shown
        if not len(wanted):
            return 1.0
        return float(np.mean(as_numpy(self.score(_arrays(self.model, update), x)).argmax(axis=-1) == as_numpy(wanted)))

    def layers(self) -> list[slice]:
        """The place of each of the model's arrays in an update."""
        ends = np.cumsum([value.size for value in self.model]).tolist()
        return [slice(end - value.size, end) for end, value in zip(ends, self.model, strict=True)]


class TrainingAttack:
    """An attack on data that also decides how its client trains; `learn` is its half in the client.

    Beside it the attack is one on data: where the client cannot let it train, as under `ByzantineSGD`, whose clients send a
    gradient, it trains as usual on what `poison` makes.
    """

    def learn(self, local: LocalTraining) -> Array:
        """(d,) the update of the broadcast model that the client has, in place of honest training."""
        raise NotImplementedError  # every final attack defines it


def malicious_training(
    attack: Any,
    model: Sequence[Any],
    data: Pair,
    train: Train,
    scores: Scores | None = None,
    *,
    num_classes: int,
    seed: int = 0,
    attacker: int = 0,
) -> list[Array]:
    """The model that a malicious client has trained, under any attack; what its app calls in place of its training.

    An attack on data trains as the app does, on poisoned data; a `TrainingAttack` in its own way; any other on clean data.

    Args:
        attack: from `flwr_byzantine.attacks`.
        model: arrays of the broadcast model, in the order of its state_dict.
        data: the client's examples and labels, (x, y) of arrays or tensors.
        train: the app's training: from arrays and (x, y) to the trained arrays. It may be called several times, and must not
            change what it is given.
        scores: from arrays and k examples to (k, num_classes) scores, for attacks that look at models.
        num_classes: number of classes, two or more.
        seed: of the choice of poisoned examples, at least 0.
        attacker: number of the attacker, from 0; the mounts take the partition id.

    Raises:
        InvalidParameter: the attack looks at models and there are no `scores`, or it cannot be carried out on such data.

    Example:
        >>> from flwr_byzantine import attacks
        >>> def train(model, data):  # of a model that is one number: the mean label
        ...     return [np.array([data[1].mean()])]
        >>> x, y = np.zeros((2, 4)), np.array([0, 1])
        >>> malicious_training(attacks.LabelFlip(), [np.zeros(1)], (x, y), train, num_classes=10)[0].tolist()
        [8.5]
    """
    arrays = [np.array(value) for value in model]
    if isinstance(attack, TrainingAttack):
        local = LocalTraining(arrays, data, train, scores, num_classes, seed, attacker)
        return _arrays(arrays, attack.learn(local))
    predict = None if scores is None else lambda x: scores(arrays, x)
    return [np.asarray(value) for value in train(arrays, poisoned(data, attack, num_classes, seed, attacker, predict=predict))]


def joined(one: Pair, other: Pair) -> Pair:
    """(x, y) the examples of both."""
    if not len(other[1]):
        return one
    return _concatenated(one[0], other[0]), _concatenated(one[1], other[1])


def _concatenated(one: Any, other: Any) -> Any:
    if not is_tensor(one):
        return np.concatenate([one, other])
    joined: Any = one.new_empty((len(one) + len(other), *one.shape[1:]))
    joined[: len(one)], joined[len(one) :] = one, other
    return joined


def _update(arrays: Sequence[Any], model: Sequence[Array]) -> Array:
    """(d,) float64 trained minus broadcast model; 0 where neither is finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        moved = [np.subtract(np.ravel(new), old.ravel(), dtype=np.float64) for new, old in zip(arrays, model, strict=True)]
    return np.asarray(np.nan_to_num(np.concatenate(moved), posinf=np.inf, neginf=-np.inf))


def _arrays(model: Sequence[Array], update: Array) -> list[Array]:
    """The model's arrays after the update, in their dtypes."""
    parts = np.split(update, np.cumsum([value.size for value in model])[:-1])
    return [_moved(value, part.reshape(value.shape)) for value, part in zip(model, parts, strict=True)]


def _moved(value: Array, part: Array) -> Array:
    moved = np.asarray(value, np.float64) + part
    if value.dtype.kind in "iu":
        out = np.empty(value.size, value.dtype)
        kernels.round_into(moved.ravel(), out)
        return out.reshape(value.shape)
    with np.errstate(over="ignore"):
        made = moved >= 0.5 if value.dtype.kind == "b" else moved.astype(value.dtype)
    return np.asarray(made)
