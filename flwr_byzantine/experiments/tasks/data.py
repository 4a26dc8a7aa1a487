"""Data sets as tensors, read once in each process and split into training, validation and test data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from flwr_byzantine.experiments.tasks.options import Options
from flwr_byzantine.experiments.tasks.scale import Scale, scale_of
from flwr_byzantine.experiments.tasks.sources import read
from flwr_byzantine.experiments.tasks.sources.vision import ROOT_VARIABLE

if TYPE_CHECKING:
    import torch

    from flwr_byzantine.experiments.tasks.task import Task

VALIDATION_STREAM = 1  # tells the generator of the validation split from others of the same seed


@dataclass(frozen=True)
class Data:
    """Examples as flat rows, labels, and the number of classes.

    Attributes:
        train_x, train_y: the clients' data.
        test_x, test_y: what the reported accuracy is of; nothing is chosen by them.
        validation_x, validation_y: held back by the server; empty where the task has no validation split.
        shape: of one example: (channels, height, width) of an image, whose row holds float32 values, channel by channel, in
            [0, 1] where the task does not normalise; (length,) of a row of tokens, which are int64, or of features.
        train_scale, test_scale: what rows of training, and of test and validation, went through.
        vocabulary: how many different tokens there are; 0 for images.
        groups: (rows of training,) whose each training example is; None where nobody knows.
    """

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor
    classes: int
    validation_x: torch.Tensor
    validation_y: torch.Tensor
    shape: tuple[int, ...]
    train_scale: Scale
    test_scale: Scale
    vocabulary: int = 0
    groups: np.ndarray | None = None


Source = tuple[str, Options, str, int, float, str]
"""What determines a task's data: dataset, its options, root, seed, validation share, normalisation."""


def source_of(task: Task) -> Source:
    """What determines the task's data; tasks that are equal in it share one object."""
    return task.dataset, task.dataset_options, root_of(task.data_root), task.seed, task.validation, task.normalize


def load(task: Task) -> Data:
    """The task's data; tasks with the same data set, folder, seed, validation share and normalisation share one object.

    Raises:
        InvalidParameter: there is no such data.

    Example:
        >>> from flwr_byzantine.experiments.tasks import Task
        >>> data = load(Task(validation=0.1))
        >>> len(data.train_x), len(data.validation_x), len(data.test_x)
        (1212, 135, 450)
    """
    return split(*source_of(task))


def root_of(root: str) -> str:
    """The folder to look in: the one given, else $FLWR_BYZANTINE_DATA, else "" (./data)."""
    return os.path.expanduser(root or os.environ.get(ROOT_VARIABLE, ""))


@lru_cache(maxsize=2)
def split(dataset: str, options: Options, root: str, seed: int, validation: float, normalize: str) -> Data:
    """The data, with a share of the training examples drawn at random from the seed and held back for validation."""
    import torch

    raw = read(dataset, options, root, seed)
    order = np.random.default_rng([seed, VALIDATION_STREAM]).permutation(len(raw.train_y))
    count = round(validation * len(raw.train_y))
    kept = np.sort(order[count:])
    held, left = torch.from_numpy(order[:count]), torch.from_numpy(kept)
    train_scale, test_scale = scale_of(dataset, raw, normalize)
    return Data(
        train_x=train_scale.rows(raw.train_x[left]),
        train_y=raw.train_y[left],
        test_x=test_scale.rows(raw.test_x),
        test_y=raw.test_y,
        classes=raw.classes,
        validation_x=test_scale.rows(raw.train_x[held]),
        validation_y=raw.train_y[held],
        shape=tuple(raw.train_x.shape[1:]),
        vocabulary=raw.vocabulary,
        groups=None if raw.groups is None else raw.groups[kept],
        train_scale=train_scale,
        test_scale=test_scale,
    )
