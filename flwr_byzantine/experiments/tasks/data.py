"""Data sets as tensors, read once in each process and split into training, validation and test data."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.datasets import DATASETS

if TYPE_CHECKING:
    import torch

    from flwr_byzantine.experiments.tasks.task import Task

ROOT_VARIABLE = "FLWR_BYZANTINE_DATA"
VALIDATION_STREAM = 1  # tells the generator of the validation split from others of the same seed


@dataclass(frozen=True)
class Data:
    """Examples as flat rows, labels, and the number of classes.

    Attributes:
        shape: of one example: (channels, height, width) of an image, whose row holds float32 values in [0, 1], channel by
            channel; (length,) of a row of tokens, which are int64.
        vocabulary: how many different tokens there are; 0 for images.
        train_x, train_y: the clients' data.
        validation_x, validation_y: held back by the server; empty where the task has no validation split.
        test_x, test_y: what the reported accuracy is of; nothing is chosen by them.
    """

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor
    classes: int
    validation_x: torch.Tensor
    validation_y: torch.Tensor
    shape: tuple[int, ...]
    vocabulary: int = 0


def load(task: Task) -> Data:
    """The task's data; tasks with the same data set, folder, seed and validation share share one object.

    Raises:
        InvalidParameter: there is no such data under the task's root.

    Example:
        >>> from flwr_byzantine.experiments.tasks import Task
        >>> data = load(Task(validation=0.1))
        >>> len(data.train_x), len(data.validation_x), len(data.test_x)
        (1212, 135, 450)
    """
    return split(task.dataset, root_of(task.data_root), task.seed, task.validation)


def root_of(root: str) -> str:
    """The folder to look in: the one given, else $FLWR_BYZANTINE_DATA, else "" (./data)."""
    return root or os.environ.get(ROOT_VARIABLE, "")


def available(dataset: str, root: str) -> bool:
    """Whether the data can be read without a download.

    Example:
        >>> available("digits", "")
        True
    """
    folder = Path(root_of(root) or "data", "FashionMNIST", "raw")
    names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    return dataset == "digits" or all((folder / name).exists() or (folder / f"{name}.gz").exists() for name in names)


@lru_cache(maxsize=2)
def split(dataset: str, root: str, seed: int, validation: float) -> Data:
    """The data, with a share of the training examples drawn at random from the seed and held back for validation."""
    import torch

    train_x, train_y, test_x, test_y = _digits(seed) if dataset == "digits" else _fashion_mnist(root)
    order = np.random.default_rng([seed, VALIDATION_STREAM]).permutation(len(train_y))
    count = round(validation * len(train_y))
    held, left = torch.from_numpy(order[:count]), torch.from_numpy(np.sort(order[count:]))
    x = [_floats(part) for part in (train_x[left], test_x, train_x[held])]
    return Data(x[0], train_y[left], x[1], test_y, 10, x[2], train_y[held], DATASETS[dataset].shape)


def _floats(x: torch.Tensor) -> torch.Tensor:
    """Pixels in [0, 1]; data sets are kept as bytes, a quarter of the size."""
    return x if x.is_floating_point() else x.float().div_(255)


def _digits(seed: int) -> tuple[torch.Tensor, ...]:
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    parts = train_test_split((x / 16.0).astype(np.float32), y, test_size=0.25, random_state=seed, stratify=y)
    train_x, test_x, train_y, test_y = (torch.from_numpy(part) for part in parts)
    return train_x, train_y, test_x, test_y


@lru_cache(maxsize=8)
def _fashion_mnist(root: str) -> tuple[torch.Tensor, ...]:
    with tempfile.TemporaryDirectory() as scratch:
        train, test = _fashion_parts(root, scratch)
    x = [part.data.reshape(len(part.data), -1) for part in (train, test)]
    return x[0], train.targets, x[1], test.targets


def _fashion_parts(root: str, scratch: str) -> list[Any]:
    """Torchvision's two parts; a root that holds only the compressed files (it may be read-only) is unpacked elsewhere."""
    from torchvision.datasets import FashionMNIST
    from torchvision.datasets.utils import extract_archive

    packed = sorted(Path(root or "data", "FashionMNIST", "raw").glob("*-ubyte.gz"))
    unpacked = all(file.with_suffix("").exists() for file in packed)
    if root and packed and not unpacked:
        target = Path(scratch, "FashionMNIST", "raw")
        target.mkdir(parents=True)
        for file in packed:
            extract_archive(str(file), str(target))
        root = scratch
    try:
        return [FashionMNIST(root or "data", train=part, download=not root) for part in (True, False)]
    except RuntimeError as error:
        problem = f"data-root {root!r} holds no Fashion-MNIST in torchvision's layout ({error})"
        raise InvalidParameter(f"{problem}; leave it empty to download") from None
