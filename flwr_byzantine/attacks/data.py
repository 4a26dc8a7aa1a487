"""Attacks on the training data: what they share, and label flips. Backdoors are in `backdoors` and `pixel_backdoors`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flwr_byzantine.arrays.conversion import ArrayKind, as_numpy, is_tensor
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext, OwnAttack
from flwr_byzantine.declare.params import Constraint, check, param
from flwr_byzantine.errors import InvalidParameter

Predict = Callable[[Any], Any]


class DataAttack(OwnAttack):
    """An attack on the client's own training data; the update trained on them is sent as it is, or boosted and masked.

    `poison` makes the poisoned copy of labelled examples, `triggered` the test examples on which success is measured.
    Examples are an array or tensor x, (n, ...), with a vector y of n integer labels below `num_classes`. What is given
    stays unchanged; what is returned is of the same kind, dtype and device. A final attack defines `targets`, and
    `alter` where it changes x.
    """

    poisons: ClassVar[bool] = True
    asks_model: ClassVar[bool] = False  # whether `poison` needs `predict`
    share: float = 1.0  # share of the examples in `targets` that `poison` changes; some attacks have a parameter of this name

    def targets(self, x: Any, y: Any, num_classes: int, predict: Predict | None = None) -> tuple[Array, Array]:
        """Rows of the examples that the attack wants classified otherwise, ascending, and the label wanted for each."""
        raise NotImplementedError  # every final attack defines it

    def alter(self, x: Any, ranks: Array, attacker: int) -> Any:
        """(k, ...) poisoned examples from k of the chosen ones, which may be overwritten; `ranks` are their places among the chosen."""
        return x

    def trigger(self, x: Any) -> Any:
        """The test examples as the attacker shows them to the model: with the whole trigger, if the attack has one."""
        return copied(x)

    def choose(self, x: Any, y: Any, num_classes: int, rng: np.random.Generator, predict: Predict | None = None) -> tuple[Array, Array]:
        """Rows that `poison` changes, ascending, and their new labels: a random `share` of the targets.

        Where share times number is no integer, it is rounded up or down at random, so that it is right on average.
        """
        rows, labels = self.targets(x, y, num_classes, predict)
        picked = np.sort(rng.permutation(len(rows))[: int(self.share * len(rows) + rng.random())])
        return rows[picked], labels[picked]

    def poison(
        self, x: Any, y: Any, num_classes: int, rng: np.random.Generator, *, attacker: int = 0, predict: Predict | None = None
    ) -> tuple[Any, Any]:
        """A poisoned copy of the examples.

        Args:
            x: (n, ...) examples.
            y: (n,) integer labels.
            num_classes: number of classes, two or more.
            rng: picks the examples that are poisoned.
            attacker: which attacker this is, from 0; a distributed backdoor gives each a part of its trigger.
            predict: the current model, from (k, ...) examples to (k, num_classes) scores; for attacks that need it.

        Raises:
            InvalidParameter: y is no vector of n labels in 0 .. num_classes - 1, or the attack cannot be carried out on such data.
        """
        rows, labels = self.choose(x, y, num_classes, rng, predict)
        new_x, new_y = copied(x), copied(y)
        if len(rows):
            new_x[rows] = self.alter(new_x[rows], np.arange(len(rows)), attacker)
            new_y[rows] = like(new_y, labels)
        return new_x, new_y

    def triggered(self, x: Any, y: Any, num_classes: int) -> tuple[Any, Any]:
        """The examples of (x, y) to measure success on, as the attacker would show them, and the labels it wants for them.

        Examples that have the wanted label already are left out; there may be none.
        """
        rows, labels = self.targets(x, y, num_classes)
        return self.trigger(as_array(x)[rows]), like(as_array(y), labels)

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """The update as it is, since it was trained on poisoned data."""
        return update


def poisoning_rng(seed: int, attacker: int, *batch: int) -> np.random.Generator:
    """The random generator of one attacker's poisoning, the same in all mounts and rounds: `default_rng([seed, attacker])`.

    Args:
        seed: of the choice of examples, >= 0.
        attacker: number of the attacker, from 0; where it is not given, its partition id.
        batch: number of the batch, from 0, where data come as batches and each is poisoned by itself.

    Example:
        >>> poisoning_rng(1, 2).random() == poisoning_rng(1, 2).random() != poisoning_rng(1, 3).random()
        True
    """
    return np.random.default_rng([seed, attacker, *batch])


def as_array(values: Any) -> Any:
    """A tensor as it is, anything else as a NumPy array."""
    return values if is_tensor(values) else np.asarray(values)


def copied(values: Any) -> Any:
    """A copy as a tensor or NumPy array."""
    return values.clone() if is_tensor(values) else np.array(values)


def like(template: Any, values: Array) -> Any:
    """NumPy values in the kind, dtype and device of the template."""
    return ArrayKind(template).restore(values) if is_tensor(template) else values.astype(template.dtype)


def labels_of(owner: str, x: Any, y: Any, num_classes: int) -> Array:
    """(n,) labels as int64, checked against x and the number of classes."""
    check(owner, "num_classes", num_classes, Constraint(int, ge=2))
    labels = as_numpy(y)
    if labels.ndim != 1 or len(labels) != len(x) or labels.dtype.kind not in "iu":
        raise InvalidParameter(
            f"{owner}: y must be a vector of {len(x)} integer labels, one an example, got {labels.dtype} of shape {labels.shape}"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
        raise InvalidParameter(
            f"{owner}: labels must be in 0 .. {num_classes - 1}, got {labels.min()} .. {labels.max()}; check num_classes"
        )
    return labels.astype(np.int64)


def check_class(owner: str, name: str, label: int, num_classes: int) -> None:
    """Raise `InvalidParameter` unless `label` is one of the classes."""
    check(owner, name, label, Constraint(int, ge=0, lt=num_classes))


@dataclass(frozen=True)
class LabelFlip(DataAttack):
    """Trains with the label num_classes - 1 - y in place of y, or with other labels for chosen classes.

    With an odd number of classes the one in the middle keeps its label. The update is sent as it is.

    Args:
        pairs: ((source, target), ...) or {source: target}, the classes whose label is changed and to what; None changes all.
        share: share of the examples of these classes whose label is changed, in (0, 1].

    Raises:
        InvalidParameter: a pair is not two different class numbers, or a source occurs twice.

    Source: Biggio, Nelson, Laskov, ICML 2012; in federated learning Tolpegin, Truex, Gursoy, Liu, ESORICS 2020.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> LabelFlip().poison(np.zeros((3, 2)), np.array([0, 1, 9]), 10, rng)[1].tolist()
        [9, 8, 0]
        >>> LabelFlip(pairs={5: 3}).poison(np.zeros((3, 2)), np.array([0, 5, 9]), 10, rng)[1].tolist()
        [0, 3, 9]
    """

    pairs: Sequence[Sequence[int]] | Mapping[int, int] | None = None
    share: float = param(1.0, kind=float, gt=0, le=1)
    reference: ClassVar[str] = "Biggio, Nelson, Laskov, ICML 2012; Tolpegin, Truex, Gursoy, Liu, ESORICS 2020"

    def __post_init__(self) -> None:
        """Store the pairs as a tuple of tuples."""
        super().__post_init__()
        if self.pairs is not None:
            object.__setattr__(self, "pairs", _as_pairs(self.pairs))

    def targets(self, x: Any, y: Any, num_classes: int, predict: Predict | None = None) -> tuple[Array, Array]:
        """Every example whose label is to change."""
        labels = labels_of("LabelFlip", x, y, num_classes)
        wanted = np.arange(num_classes)[::-1].copy() if self.pairs is None else np.arange(num_classes)
        for source, target in () if self.pairs is None else _as_pairs(self.pairs):
            check_class("LabelFlip", "a class in pairs", max(source, target), num_classes)
            wanted[source] = target
        rows = np.flatnonzero(wanted[labels] != labels)
        return rows, wanted[labels[rows]]


def _as_pairs(pairs: Any) -> tuple[tuple[int, int], ...]:
    """The pairs (source, target) of `LabelFlip`, checked."""
    items = list(pairs.items() if isinstance(pairs, Mapping) else pairs) if isinstance(pairs, Mapping | Sequence) else [pairs]
    number = Constraint(int, ge=0)
    for item in items:
        two = isinstance(item, Sequence) and len(item) == 2 and all(number.accepts(label) for label in item)
        if not two or item[0] == item[1]:
            raise InvalidParameter(f"LabelFlip: pairs must hold pairs (source, target) of two different class numbers, got {item!r}")
    found = tuple((int(source), int(target)) for source, target in items)
    if not found or len(dict(found)) < len(found):
        raise InvalidParameter(f"LabelFlip: pairs must name each source once and one at least, got {pairs!r}")
    return found


@dataclass(frozen=True)
class DynamicLabelFlip(DataAttack):
    """Trains each example with the wrong label that the current model gives the lowest score.

    The paper takes a surrogate model of the attacker's; here it is the broadcast model, given to `poison` as `predict`. No
    label is wanted in particular, so `triggered` gives no examples: success is the loss of accuracy. The update is sent
    as it is.

    Args:
        share: share of the examples whose label is changed, in (0, 1].

    Raises:
        InvalidParameter: `poison` without `predict`, or scores of the wrong shape.

    Source: Shejwalkar, Houmansadr, Kairouz, Ramage, S&P 2022.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
        >>> rng = np.random.default_rng(0)
        >>> DynamicLabelFlip().poison(np.zeros((2, 4)), np.array([0, 0]), 3, rng, predict=lambda x: scores)[1].tolist()
        [2, 1]
    """

    share: float = param(1.0, kind=float, gt=0, le=1)
    asks_model: ClassVar[bool] = True
    reference: ClassVar[str] = "Shejwalkar, Houmansadr, Kairouz, Ramage, S&P 2022"

    def targets(self, x: Any, y: Any, num_classes: int, predict: Predict | None = None) -> tuple[Array, Array]:
        """Every example, with the wrong label of the lowest score."""
        labels = labels_of("DynamicLabelFlip", x, y, num_classes)
        if predict is None:
            raise InvalidParameter("DynamicLabelFlip needs the current model; pass predict=, from examples to scores (n, num_classes)")
        if not len(labels):
            return labels, labels
        scores = np.array(as_numpy(predict(x)), dtype=np.float64)
        if scores.shape != (len(labels), num_classes):
            raise InvalidParameter(
                f"DynamicLabelFlip: predict must give scores of shape {(len(labels), num_classes)}, got {scores.shape}; check num_classes"
            )
        scores[np.arange(len(labels)), labels] = np.inf
        return np.arange(len(labels)), scores.argmin(axis=1)

    def triggered(self, x: Any, y: Any, num_classes: int) -> tuple[Any, Any]:
        """No examples, since no label is wanted in particular."""
        return as_array(x)[:0], as_array(y)[:0]
