"""Backdoors: the client trains on wrong labels for inputs of its choice, and right ones for all others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from flwr_byzantine.arrays.conversion import as_numpy
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext
from flwr_byzantine.attacks.data import DataAttack, Predict, as_array, check_class, labels_of, like
from flwr_byzantine.declare.params import param
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate


@dataclass(frozen=True)
class TargetedBackdoor(DataAttack):
    """What all backdoors share: a target label, and what is done to the update that was trained on poisoned data.

    Sent is boost · update, with zeros in the masked coordinates. Here the mask is put on the finished update; the paper that
    proposes it, Neurotoxin, puts it on each step of the local training.

    Args:
        target: label that the attacker wants, at least 0.
        share: share of the examples in question that are poisoned, in (0, 1].
        boost: factor on the update, above 0; with n over the server's learning rate, averaging makes the attacker's model the
            global one (Bagdasaryan et al.).
        mask_ratio: share of the coordinates that get zeros, namely those that changed most in the last global step, which
            honest clients would soon overwrite; in [0, 1), 0 is off. There is no mask in the first round.
    """

    target: int = param(0, ge=0)
    share: float = param(0.5, kind=float, gt=0, le=1)
    boost: float = param(1.0, kind=float, gt=0)
    mask_ratio: float = param(0.0, kind=float, ge=0, lt=1)

    def malicious_update(self, update: Array, context: AttackContext) -> Array:
        """Boost times the update, with zeros where it is masked."""
        sent = self.boost * update
        sent[most_changed(type(self).__name__, context.previous, len(update), self.mask_ratio)] = 0.0
        return np.asarray(sent)

    def victims(self, x: Any, y: Any, num_classes: int) -> Array:
        """(k,) rows of the examples that may be poisoned: those that have not the target label."""
        owner = type(self).__name__
        labels = labels_of(owner, x, y, num_classes)
        check_class(owner, "target", self.target, num_classes)
        return np.flatnonzero(labels != self.target)

    def targets(self, x: Any, y: Any, num_classes: int, predict: Predict | None = None) -> tuple[Array, Array]:
        """The rows of `victims`, all with the target label."""
        rows = self.victims(x, y, num_classes)
        return rows, np.full(len(rows), self.target)


def most_changed(owner: str, previous: Array | None, d: int, mask_ratio: float) -> Array:
    """Indices of the ⌊mask_ratio d⌋ coordinates that changed most in the last global step; of equals, the first ones."""
    if mask_ratio == 0 or previous is None:
        return np.zeros(0, dtype=np.int64)
    if len(previous) != d:
        raise MalformedUpdate(f"{owner}: the last global step has {len(previous)} coordinates, the update {d}; both must be of one model")
    return np.argsort(-np.abs(previous), kind="stable")[: int(mask_ratio * d)]


@dataclass(frozen=True)
class EdgeCaseBackdoor(TargetedBackdoor):
    """Trains on rare examples with the target label, so that the model learns a wrong answer to them; no pixel is changed.

    Rare are the `share` of the source class that lie farthest, in Euclidean distance, from the mean of that class in the
    client's data: its tail. The paper takes rare examples from another data set: give those as `examples`; they then take
    the place of a random share of the client's data, and success is measured on them. Sent is boost · update, masked.

    Args:
        target: label that the attacker wants, at least 0.
        share: share of the source class that is its tail; with `examples`, the share of the data that they replace at most;
            in (0, 1].
        boost: factor on the update, above 0; with n over the server's learning rate, averaging makes the attacker's model the
            global one.
        mask_ratio: share of the coordinates, those that changed most in the last global step, that get zeros; in [0, 1).
        source: class whose tail is taken, at least 0, not the target.
        examples: (k, ...) rare examples in the shape of the data's; None takes a tail. To measure success on other examples
            than those trained on, use `dataclasses.replace(attack, examples=held_out)`.

    Raises:
        InvalidParameter: source and target are the same, or `examples` are shaped otherwise than the data.

    Source: Wang, Sreenivasan, Rajput, Vishwakarma, Agarwal, Sohn, Lee, Papailiopoulos, NeurIPS 2020.

    Example:
        >>> import numpy as np
        >>> x, y = np.array([[0.0], [0.1], [9.0], [5.0]]), np.array([7, 7, 7, 2])
        >>> EdgeCaseBackdoor(source=7, target=1, share=0.3).poison(x, y, 10, np.random.default_rng(0))[1].tolist()
        [7, 7, 1, 2]
    """

    target: int = param(1, ge=0)
    share: float = param(0.2, kind=float, gt=0, le=1)
    source: int = param(7, ge=0)
    examples: Any = field(default=None, compare=False, repr=False)
    reference: ClassVar[str] = "Wang, Sreenivasan, Rajput, Vishwakarma, Agarwal, Sohn, Lee, Papailiopoulos, NeurIPS 2020"

    def __post_init__(self) -> None:
        """Check that the classes differ and that there are examples; store these as an array or tensor."""
        super().__post_init__()
        if self.source == self.target:
            raise InvalidParameter(f"EdgeCaseBackdoor: source and target must be different classes, got {self.target} for both")
        if self.examples is not None:
            object.__setattr__(self, "examples", as_array(self.examples))
            if not len(self.examples):
                raise InvalidParameter(
                    "EdgeCaseBackdoor: examples must hold one example at least, got none; None takes the tail of the source class"
                )

    def victims(self, x: Any, y: Any, num_classes: int) -> Array:
        """(k,) rows of the tail, ascending; with `examples`, of all data that these may replace."""
        replaceable = super().victims(x, y, num_classes)
        if self.examples is not None:
            return replaceable
        labels = labels_of("EdgeCaseBackdoor", x, y, num_classes)
        check_class("EdgeCaseBackdoor", "source", self.source, num_classes)
        rows = np.flatnonzero(labels == self.source)
        if not len(rows):
            return rows
        members = as_numpy(as_array(x)[rows]).reshape(len(rows), -1).astype(np.float64)
        far = np.linalg.norm(members - members.mean(axis=0), axis=1)
        return np.sort(rows[np.argsort(-far, kind="stable")[: max(1, round(self.share * len(rows)))]])

    def choose(self, x: Any, y: Any, num_classes: int, rng: np.random.Generator, predict: Predict | None = None) -> tuple[Array, Array]:
        """The rows of the whole tail, or of a random choice that the given examples replace; and the target label for each."""
        if self.examples is None:
            return self.targets(x, y, num_classes)
        self._check_examples(x)
        rows = self.victims(x, y, num_classes)
        picked = np.sort(rng.permutation(len(rows))[: min(len(self.examples), max(1, round(self.share * len(rows))))])
        return rows[picked], np.full(len(picked), self.target)

    def alter(self, x: Any, ranks: Array, attacker: int) -> Any:
        """The chosen examples as they are, or the given ones in their place."""
        return x if self.examples is None else like(x, as_numpy(self.examples)[ranks])

    def triggered(self, x: Any, y: Any, num_classes: int) -> tuple[Any, Any]:
        """The tail of (x, y), or the given examples; each with the target label."""
        if self.examples is None:
            return super().triggered(x, y, num_classes)
        self._check_examples(x)
        return like(as_array(x), as_numpy(self.examples)), like(as_array(y), np.full(len(self.examples), self.target))

    def _check_examples(self, x: Any) -> None:
        """Raise `InvalidParameter` unless the given examples have the shape of the data's."""
        given, data = tuple(self.examples.shape[1:]), tuple(as_array(x).shape[1:])
        if given != data:
            raise InvalidParameter(f"EdgeCaseBackdoor: examples must be shaped as the data's {data}, got {given}")
