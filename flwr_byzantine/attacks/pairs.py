"""Training data of any kind as one pair (x, y), and other examples in their place. Loads torch only where the caller has."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from flwr_byzantine.arrays.conversion import as_numpy, is_tensor
from flwr_byzantine.attacks.data import LabelFlip
from flwr_byzantine.attacks.poisoned_views import Keys, Poisoner, stack

UNUSED = LabelFlip()  # a Poisoner splits and joins examples, whatever its attack


def pair_of(dataset: Any, keys: Keys = None) -> tuple[Any, Any]:
    """All examples and labels of a data set, read once: of a pair, a TensorDataset, a DataLoader, a map-style data set, or batches.

    Args:
        dataset: as `poisoned` takes it.
        keys: names of x and y where examples are mappings.

    Example:
        >>> x, y = pair_of([(np.zeros(4), 3), (np.ones(4), 5)])
        >>> x.shape, y.tolist()
        ((2, 4), [3, 5])
    """
    data = torch_data()
    if is_pair(dataset):
        return dataset[0], dataset[1]
    if data is not None and isinstance(dataset, data.TensorDataset) and len(dataset.tensors) == 2:
        return dataset.tensors[0], dataset.tensors[1]
    if data is not None and isinstance(dataset, data.DataLoader) and is_map_style(dataset.dataset):
        return pair_of(dataset.dataset, keys)
    items = [Poisoner(UNUSED, 2, keys=keys).split(item) for item in dataset]
    if items and np.ndim(items[0][1]):
        items = [(x, y) for xs, ys in items for x, y in zip(xs, ys, strict=True)]
    return stack([x for x, _ in items]), np.array([int(y) for _, y in items])


def in_place_of(dataset: Any, x: Any, y: Any, keys: Keys = None) -> Any:
    """The examples (x, y) as data of the same kind: what trains on the data set trains on them.

    A DataLoader keeps its batch size, collate function, workers and generator, and shuffles if it did; other samplers are made for
    so many examples, and are not kept. Batches have the size of the first one.

    Example:
        >>> in_place_of([(np.zeros(1), 3)], np.ones((2, 1)), np.array([4, 5]))
        [(array([1.]), 4), (array([1.]), 5)]
    """
    data = torch_data()
    if is_pair(dataset):
        return x, y
    if data is not None and isinstance(dataset, data.TensorDataset) and len(dataset.tensors) == 2:
        return data.TensorDataset(x, y)
    if data is not None and isinstance(dataset, data.DataLoader) and is_map_style(dataset.dataset):
        return _loader(dataset, in_place_of(dataset.dataset, x, y, keys))
    poisoner, first = Poisoner(UNUSED, 2, keys=keys), next(iter(dataset))
    size = np.shape(poisoner.split(first)[1])
    if not size:
        return [poisoner.join(first, one, int(label)) for one, label in zip(x, as_numpy(y), strict=True)]
    return [poisoner.join(first, x[k : k + size[0]], y[k : k + size[0]]) for k in range(0, len(y), size[0])]


def _loader(loader: Any, dataset: Any) -> Any:
    """A DataLoader like this one over other data."""
    data = torch_data()
    shuffle = isinstance(loader.sampler, data.RandomSampler)
    kept = {name: getattr(loader, name) for name in ("batch_size", "collate_fn", "drop_last", "num_workers", "generator")}
    return data.DataLoader(dataset, shuffle=shuffle, **kept)


def torch_data() -> Any:
    """The module torch.utils.data, or None: a torch dataset can only exist where torch was imported."""
    torch = sys.modules.get("torch")
    return None if torch is None else torch.utils.data


def is_map_style(dataset: Any) -> bool:
    """Whether examples can be read by their place."""
    return hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__") and not isinstance(dataset, Mapping)


def is_pair(dataset: Any) -> bool:
    """Whether it is (x, y) of arrays or tensors."""
    two = isinstance(dataset, tuple | list) and len(dataset) == 2
    return two and all(isinstance(part, np.ndarray) or is_tensor(part) for part in dataset) and np.ndim(dataset[1]) == 1
