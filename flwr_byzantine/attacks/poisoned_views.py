"""Views of data sets and of iterables of batches in which some examples are poisoned."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flwr_byzantine.arrays.conversion import is_tensor
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.data import DataAttack, Predict, like, poisoning_rng
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter

Keys = tuple[Any, Any] | None  # names of x and y where examples are mappings


@dataclass(frozen=True)
class Poisoner:
    """Poisons examples, data sets and batches; its fields are the arguments of `poisoned`, which are checked."""

    attack: DataAttack
    num_classes: int
    seed: int = 0
    attacker: int = 0
    predict: Predict | None = None
    keys: Keys = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        check("poisoned", "num_classes", self.num_classes, Constraint(int, ge=2))
        check("poisoned", "seed", self.seed, Constraint(int, ge=0))
        check("poisoned", "attacker", self.attacker, Constraint(int, ge=0))

    def poison(self, x: Any, y: Any, *batch: int) -> tuple[Any, Any]:
        """A poisoned copy of all data (x, y), or of the batch of that number."""
        rng = poisoning_rng(self.seed, self.attacker, *batch)
        return self.attack.poison(x, y, self.num_classes, rng, attacker=self.attacker, predict=self.predict)

    def choose(self, x: Any, y: Any) -> tuple[Array, Array]:
        """Rows of all data (x, y) that are poisoned, and their new labels."""
        return self.attack.choose(x, y, self.num_classes, poisoning_rng(self.seed, self.attacker), self.predict)

    def alter(self, x: Any, rank: int) -> Any:
        """One poisoned example from one chosen example; `rank` is its place among the chosen, from 0."""
        one = x.clone()[None] if is_tensor(x) else np.array(x)[None]
        return self.attack.alter(one, np.array([rank]), self.attacker)[0]

    def split(self, item: Any) -> tuple[Any, Any]:
        """The parts x and y of an example or a batch."""
        if self.keys is not None:
            return item[self.keys[0]], item[self.keys[1]]
        if isinstance(item, Mapping):
            raise InvalidParameter(f"poisoned: examples are mappings of {', '.join(map(repr, item))}; name x and y by keys=(x, y)")
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise InvalidParameter(f"poisoned: examples must be pairs (x, y) or mappings with keys=(x, y), got {type(item).__name__}")
        return item[0], item[1]

    def join(self, item: Any, x: Any, y: Any) -> Any:
        """The example or batch with this x and y in place of its own."""
        if self.keys is not None:
            return {**item, self.keys[0]: x, self.keys[1]: y}
        return (x, y, *item[2:])


class PoisonedDataset:
    """A map-style view of a dataset in which some examples are poisoned; `poisoned` makes such views.

    Args:
        dataset: map-style, of examples whose x is an array or tensor and whose y is an integer.
        poisoner: changes the examples.

    Attributes:
        chosen: index of a poisoned example -> (its place among the poisoned ones, its new label).

    Example:
        >>> from flwr_byzantine import attacks
        >>> from flwr_byzantine.attacks.poisoning import poisoned
        >>> view = poisoned([(np.zeros(4), 0), (np.ones(4), 5)], attacks.LabelFlip(pairs={5: 3}), num_classes=10)
        >>> view.chosen
        {1: (0, 3)}
    """

    def __init__(self, dataset: Any, poisoner: Poisoner) -> None:
        self.dataset, self.poisoner = dataset, poisoner
        self.chosen: dict[int, tuple[int, int]] = {}
        if len(dataset):
            pairs = [poisoner.split(dataset[i]) for i in range(len(dataset))]
            rows, labels = poisoner.choose(stack([x for x, _ in pairs]), np.array([int(y) for _, y in pairs]))
            self.chosen = {int(row): (rank, int(label)) for rank, (row, label) in enumerate(zip(rows, labels, strict=True))}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        item = self.dataset[index]
        place = int(index) + (len(self) if int(index) < 0 else 0)
        if place not in self.chosen:
            return item
        rank, label = self.chosen[place]
        x, y = self.poisoner.split(item)
        return self.poisoner.join(item, self.poisoner.alter(x, rank), like(y, np.array(label))[()] if hasattr(y, "dtype") else label)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


class PoisonedBatches:
    """A view of an iterable of batches in which each batch is poisoned by itself when it is read; `poisoned` makes such views.

    Batch i is poisoned with `poisoning_rng(seed, attacker, i)`, so that each pass gives the same. All other attributes are
    those of the original.

    Args:
        batches: an iterable of (x, y), or of single examples whose y is a number.
        poisoner: changes the batches.

    Example:
        >>> from flwr_byzantine import attacks
        >>> from flwr_byzantine.attacks.poisoning import poisoned
        >>> [y.tolist() for _, y in poisoned([(np.zeros((2, 4)), np.array([0, 9]))], attacks.LabelFlip(), 10)]
        [[9, 0]]
    """

    def __init__(self, batches: Any, poisoner: Poisoner) -> None:
        self.batches, self.poisoner = batches, poisoner

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: Any) -> Any:
        return self._poisoned(self.batches[index], int(index))

    def __iter__(self) -> Iterator[Any]:
        return (self._poisoned(batch, i) for i, batch in enumerate(self.batches))

    def __getattr__(self, name: str) -> Any:
        if name in ("batches", "poisoner"):  # while the view is unpickled it has no attributes yet
            raise AttributeError(name)
        return getattr(self.batches, name)

    def _poisoned(self, batch: Any, i: int) -> Any:
        x, y = self.poisoner.split(batch)
        if np.ndim(y) > 0:
            return self.poisoner.join(batch, *self.poisoner.poison(x, y, i))
        x, y = self.poisoner.poison(stack([x]), stack([y]), i)
        return self.poisoner.join(batch, x[0], y[0])


def stack(items: list[Any]) -> Any:
    """One array or tensor of all examples; an image object is refused, since it does not say which axis its channels are."""
    if is_tensor(items[0]):
        return sys.modules["torch"].stack(items)
    if not isinstance(items[0], np.ndarray | np.generic | numbers.Real | list | tuple):
        kind = type(items[0]).__name__
        raise InvalidParameter(f"poisoned: x must be an array or a tensor, got {kind}; give the dataset a transform to tensors")
    return np.stack(items)
