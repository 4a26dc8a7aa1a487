"""Poisoned views of training data, and the success rate of what they teach. Loads torch only where the caller has."""

from __future__ import annotations

import copy
import numbers
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flwr_byzantine.arrays.conversion import as_numpy, is_tensor
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import Attack
from flwr_byzantine.attacks.data import DataAttack, Predict, like
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter

Keys = tuple[Any, Any] | None


def poisoned(
    dataset: Any,
    attack: Attack,
    num_classes: int,
    seed: int = 0,
    attacker: int = 0,
    *,
    predict: Predict | None = None,
    keys: Keys = None,
) -> Any:
    """The same data as the attack wants it to be learnt; the original is not touched, and the same seed gives the same view.

    | dataset | what comes back |
    |---|---|
    | pair (x, y) of arrays or tensors | the pair that `attack.poison` makes with `default_rng([seed, attacker])` |
    | `TensorDataset` of x and y | a `TensorDataset` of that pair |
    | map-style dataset of examples (x, y) | `PoisonedDataset`: one pass now picks the examples, each is altered when read |
    | `DataLoader` over a map-style dataset | a copy of it over the poisoned dataset: the very sampler, batch size, collate function |
    | any other iterable of batches (x, y) | `PoisonedBatches`: each batch is poisoned as it comes |

    With a map-style dataset the examples are those of `attack.poison` on all of it, so random transforms stay random
    and poisoned examples stay poisoned. An attack that does not poison data leaves the data as it is.

    Args:
        dataset: one of the above. Examples may have more than two parts; the others stay.
        attack: from `flwr_byzantine.attacks`.
        num_classes: number of classes.
        seed: of the choice of examples.
        attacker: which attacker this is, from 0; each picks its own examples, and its part of a distributed trigger.
        predict: the current model, from examples to (n, num_classes) scores, for `DynamicLabelFlip`.
        keys: names of x and y where examples or batches are mappings, as in flwr-datasets: `("image", "label")`.

    Raises:
        InvalidParameter: data of another kind, or the attack cannot be carried out on it.

    Example:
        >>> from flwr_byzantine import attacks
        >>> examples = [(np.zeros((2, 2)), 3), (np.ones((2, 2)), 9)]
        >>> [label for _, label in poisoned(examples, attacks.LabelFlip(), num_classes=10)]
        [6, 0]
        >>> x, y = poisoned((np.zeros((4, 9)), np.array([1, 2, 3, 0])), attacks.Backdoor(target=0, patch=1, share=1.0), 10)
        >>> x[:, -1].tolist(), y.tolist()
        ([1.0, 1.0, 1.0, 0.0], [0, 0, 0, 0])
    """
    if isinstance(attack, Attack) and not attack.poisons:
        return dataset
    if not isinstance(attack, DataAttack):
        raise InvalidParameter(
            f"poisoned needs an attack that is a subclass of attacks.DataAttack, e.g. attacks.LabelFlip(), got {attack!r}"
        )
    recipe = Recipe(attack, num_classes, seed, attacker, predict, keys)
    data = _torch_data()
    if data is not None and isinstance(dataset, data.DataLoader):
        return _loader(dataset, recipe) if _is_map_style(dataset.dataset) else PoisonedBatches(dataset, recipe)
    if data is not None and isinstance(dataset, data.TensorDataset) and len(dataset.tensors) == 2:
        return data.TensorDataset(*recipe.poison(*dataset.tensors))
    if _is_pair(dataset):
        return recipe.poison(*dataset)
    if _is_map_style(dataset) and (not len(dataset) or np.ndim(recipe.split(dataset[0])[1]) == 0):
        return PoisonedDataset(dataset, recipe)
    if hasattr(dataset, "__iter__"):
        return PoisonedBatches(dataset, recipe)
    raise InvalidParameter(
        f"poisoned needs a pair (x, y), a dataset of (x, y) or an iterable of batches (x, y), got {type(dataset).__name__}"
    )


@dataclass(frozen=True)
class Recipe:
    """How to poison: the arguments of `poisoned`, checked."""

    attack: DataAttack
    num_classes: int
    seed: int = 0
    attacker: int = 0
    predict: Predict | None = None
    keys: Keys = None

    def __post_init__(self) -> None:
        """One clear sentence for each mistake."""
        check("poisoned", "num_classes", self.num_classes, Constraint(int, ge=2))
        check("poisoned", "seed", self.seed, Constraint(int, ge=0))
        check("poisoned", "attacker", self.attacker, Constraint(int, ge=0))

    def rng(self, *batch: int) -> np.random.Generator:
        """The source of randomness of this attacker, or of one of its batches."""
        return np.random.default_rng([self.seed, self.attacker, *batch])

    def poison(self, x: Any, y: Any, *batch: int) -> tuple[Any, Any]:
        """A poisoned copy of (x, y)."""
        return self.attack.poison(x, y, self.num_classes, self.rng(*batch), attacker=self.attacker, predict=self.predict)

    def choose(self, x: Any, y: Any) -> tuple[Array, Array]:
        """Rows that are poisoned and their new labels."""
        return self.attack.choose(x, y, self.num_classes, self.rng(), self.predict)

    def alter(self, x: Any, rank: int) -> Any:
        """One poisoned example from one chosen example, the `rank`-th."""
        one = x.clone()[None] if is_tensor(x) else np.array(x)[None]
        return self.attack.alter(one, np.array([rank]), self.attacker)[0]

    def split(self, item: Any) -> tuple[Any, Any]:
        """X and y of an example or a batch."""
        if self.keys is not None:
            return item[self.keys[0]], item[self.keys[1]]
        if isinstance(item, Mapping):
            raise InvalidParameter(f"poisoned: examples are mappings of {', '.join(map(repr, item))}; name x and y by keys=(x, y)")
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise InvalidParameter(f"poisoned: examples must be pairs (x, y) or mappings with keys=(x, y), got {type(item).__name__}")
        return item[0], item[1]

    def join(self, item: Any, x: Any, y: Any) -> Any:
        """The example or batch with another x and y."""
        if self.keys is not None:
            return {**item, self.keys[0]: x, self.keys[1]: y}
        return (x, y, *item[2:])


class PoisonedDataset:
    """A map-style view of a dataset in which some examples are poisoned; `poisoned` makes it.

    Args:
        dataset: map-style, of examples whose x is an array or tensor and whose y is an integer.
        recipe: how.

    Attributes:
        chosen: index -> (place among the poisoned examples, new label).

    Example:
        >>> from flwr_byzantine import attacks
        >>> view = poisoned([(np.zeros(4), 0), (np.ones(4), 5)], attacks.LabelFlip(pairs={5: 3}), num_classes=10)
        >>> view.chosen
        {1: (0, 3)}
    """

    def __init__(self, dataset: Any, recipe: Recipe) -> None:
        self.dataset, self.recipe = dataset, recipe
        self.chosen: dict[int, tuple[int, int]] = {}
        if len(dataset):
            pairs = [recipe.split(dataset[i]) for i in range(len(dataset))]
            rows, labels = recipe.choose(_stack([x for x, _ in pairs]), np.array([int(y) for _, y in pairs]))
            self.chosen = {int(row): (rank, int(label)) for rank, (row, label) in enumerate(zip(rows, labels, strict=True))}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        item = self.dataset[index]
        place = int(index) + (len(self) if int(index) < 0 else 0)
        if place not in self.chosen:
            return item
        rank, label = self.chosen[place]
        x, y = self.recipe.split(item)
        return self.recipe.join(item, self.recipe.alter(x, rank), like(y, np.array(label))[()] if hasattr(y, "dtype") else label)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


class PoisonedBatches:
    """An iterable of batches, each poisoned as it comes, by itself; `poisoned` makes it.

    Batch i is poisoned with `default_rng([seed, attacker, i])`, so each pass poisons alike. Attributes that it has
    not are those of the original.

    Args:
        batches: an iterable of (x, y), or of single examples whose y is a number.
        recipe: how.

    Example:
        >>> from flwr_byzantine import attacks
        >>> [y.tolist() for _, y in poisoned([(np.zeros((2, 4)), np.array([0, 9]))], attacks.LabelFlip(), 10)]
        [[9, 0]]
    """

    def __init__(self, batches: Any, recipe: Recipe) -> None:
        self.batches, self.recipe = batches, recipe

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: Any) -> Any:
        return self._turned(self.batches[index], int(index))

    def __iter__(self) -> Iterator[Any]:
        return (self._turned(batch, i) for i, batch in enumerate(self.batches))

    def __getattr__(self, name: str) -> Any:
        if name in ("batches", "recipe"):  # not there yet while being unpickled
            raise AttributeError(name)
        return getattr(self.batches, name)

    def _turned(self, batch: Any, i: int) -> Any:
        x, y = self.recipe.split(batch)
        if np.ndim(y) > 0:
            return self.recipe.join(batch, *self.recipe.poison(x, y, i))
        x, y = self.recipe.poison(_stack([x]), _stack([y]), i)
        return self.recipe.join(batch, x[0], y[0])


def attack_success_rate(model: Any, attack: Attack, x: Any, y: Any, num_classes: int) -> float:
    """Share of the attack's test examples that the model classifies as the attacker wants, in [0, 1].

    Args:
        model: a torch module, or a function, from (k, ...) examples to (k, num_classes) scores or (k,) labels. A module
            is evaluated without gradients, in evaluation mode and in one batch, and left in the mode it was in.
        attack: a data attack: a backdoor, or `LabelFlip`.
        x: (n, ...) clean test examples.
        y: (n,) their labels.
        num_classes: number of classes.

    Returns:
        The share; NaN where the attack wants nothing of these examples (`DynamicLabelFlip` never does).

    Raises:
        InvalidParameter: the attack poisons no data.

    Source: Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020 ("backdoor accuracy").

    Example:
        >>> from flwr_byzantine import attacks
        >>> x, y = np.zeros((3, 4)), np.array([0, 1, 2])
        >>> attack_success_rate(lambda x: np.zeros(len(x), int), attacks.Backdoor(target=0, patch=1), x, y, 3)
        1.0
    """
    if not isinstance(attack, DataAttack):
        raise InvalidParameter(f"attack_success_rate needs an attack on data, e.g. attacks.Backdoor(), got {attack!r}")
    shown, wanted = attack.triggered(x, y, num_classes)
    if not len(shown):
        return float("nan")
    answers = as_numpy(predictor(model)(shown))
    labels = answers.argmax(axis=-1) if answers.ndim == 2 else answers
    return float(np.mean(labels == as_numpy(wanted)))


def predictor(model: Any) -> Callable[[Any], Any]:
    """The model as a function from examples to scores: a torch module in evaluation mode without gradients; else as it is.

    NumPy examples are brought to the module's device and dtype.

    Example:
        >>> predictor(len)([1, 2])
        2
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return model  # type: ignore[no-any-return]

    def predict(x: Any) -> Any:
        first = next(model.parameters(), None)
        given = x if first is None else torch.as_tensor(x).to(first.device, first.dtype)
        training = model.training
        try:
            with torch.no_grad():
                return model.eval()(given)
        finally:
            model.train(training)

    return predict


def _torch_data() -> Any:
    torch = sys.modules.get("torch")  # a torch dataset can only exist where torch was imported
    return None if torch is None else torch.utils.data


def _is_map_style(dataset: Any) -> bool:
    return hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__") and not isinstance(dataset, Mapping)


def _is_pair(dataset: Any) -> bool:
    arrays = (
        isinstance(dataset, tuple | list) and len(dataset) == 2 and all(isinstance(part, np.ndarray) or is_tensor(part) for part in dataset)
    )
    return arrays and np.ndim(dataset[1]) == 1


def _stack(items: list[Any]) -> Any:
    """One array or tensor of all examples; an image object is refused, for it does not say where its channels are."""
    if is_tensor(items[0]):
        return sys.modules["torch"].stack(items)
    if not isinstance(items[0], np.ndarray | np.generic | numbers.Real | list | tuple):
        kind = type(items[0]).__name__
        raise InvalidParameter(f"poisoned: x must be an array or a tensor, got {kind}; give the dataset a transform to tensors")
    return np.stack(items)


def _loader(loader: Any, recipe: Recipe) -> Any:
    """A copy of the DataLoader over the poisoned dataset."""
    copy_content = copy.copy(loader)
    dataset = poisoned(
        loader.dataset, recipe.attack, recipe.num_classes, recipe.seed, recipe.attacker, predict=recipe.predict, keys=recipe.keys
    )
    copy_content.__dict__.update(
        dataset=dataset, _iterator=None
    )  # a DataLoader refuses the assignment; its persistent workers read the old data
    return copy_content
