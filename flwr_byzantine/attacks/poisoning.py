"""Poisoned views of training data of any kind; `attack_success_rate` measures what they teach. Loads torch only where the caller has."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from flwr_byzantine.attacks.base import Attack
from flwr_byzantine.attacks.data import DataAttack, Predict
from flwr_byzantine.attacks.pairs import is_map_style, is_pair, torch_data
from flwr_byzantine.attacks.poisoned_views import Keys, PoisonedBatches, PoisonedDataset, Poisoner
from flwr_byzantine.attacks.success import attack_success_rate, predictor
from flwr_byzantine.errors import InvalidParameter

__all__ = ["PoisonedBatches", "PoisonedDataset", "attack_success_rate", "poisoned", "predictor"]


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
    """The client's data as the attacker trains on them; the original is not changed, and the same seed gives the same view.

    | dataset | what comes back |
    |---|---|
    | pair (x, y) of arrays or tensors | the pair that `attack.poison` makes with `poisoning_rng(seed, attacker)` |
    | `TensorDataset` of x and y | a `TensorDataset` of that pair |
    | map-style dataset of examples (x, y) | `PoisonedDataset`: all are read once to choose some, which are changed when read again |
    | `DataLoader` over a map-style dataset | a copy of it, over the poisoned dataset, with its sampler, batch size and collate function |
    | any other iterable of batches (x, y) | `PoisonedBatches`: each batch is poisoned by itself when it is read |

    Of a map-style dataset those examples are chosen that `attack.poison` would choose of all of it, so the same ones are
    poisoned in each pass, also where the dataset's transforms are random. An attack that is not on data changes nothing.

    Args:
        dataset: one of the above. Further parts of an example beside x and y stay as they are.
        attack: from `flwr_byzantine.attacks`.
        num_classes: number of classes, two or more.
        seed: of the choice of examples, at least 0.
        attacker: number of the attacker, from 0: each chooses other examples, and has its part of a distributed trigger. The
            mounts take the client's partition id.
        predict: the current model, from examples to (n, num_classes) scores, for `DynamicLabelFlip`.
        keys: names of x and y where examples or batches are mappings, as in flwr-datasets: `("image", "label")`.

    Raises:
        InvalidParameter: data of another kind, or data on which the attack cannot be carried out.

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
    return _view(dataset, Poisoner(attack, num_classes, seed, attacker, predict, keys))


def _view(dataset: Any, poisoner: Poisoner) -> Any:
    """The poisoned view of a dataset, whatever its kind."""
    data = torch_data()
    if data is not None and isinstance(dataset, data.DataLoader):
        return _loader(dataset, poisoner) if is_map_style(dataset.dataset) else PoisonedBatches(dataset, poisoner)
    if data is not None and isinstance(dataset, data.TensorDataset) and len(dataset.tensors) == 2:
        return data.TensorDataset(*poisoner.poison(*dataset.tensors))
    if is_pair(dataset):
        return poisoner.poison(*dataset)
    if is_map_style(dataset) and (not len(dataset) or np.ndim(poisoner.split(dataset[0])[1]) == 0):
        return PoisonedDataset(dataset, poisoner)
    if hasattr(dataset, "__iter__"):
        return PoisonedBatches(dataset, poisoner)
    raise InvalidParameter(
        f"poisoned needs a pair (x, y), a dataset of (x, y) or an iterable of batches (x, y), got {type(dataset).__name__}"
    )


def _loader(loader: Any, poisoner: Poisoner) -> Any:
    """A copy of the DataLoader over the poisoned dataset."""
    made, dataset = copy.copy(loader), _view(loader.dataset, poisoner)
    # a DataLoader refuses another dataset by assignment, and its persistent workers would read the old one
    made.__dict__.update(dataset=dataset, _iterator=None)
    return made
