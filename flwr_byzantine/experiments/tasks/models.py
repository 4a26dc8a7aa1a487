"""The models: multilayer perceptron, small convolutional network, softmax regression."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.task import Task


def model(task: Task) -> nn.Module:
    """A new model from the task's seed; it takes (rows, pixels) images.

    Example:
        >>> [sum(value.numel() for value in model(Task(model=name)).parameters()) for name in ("mlp", "cnn", "softmax")]
        [4810, 6090, 650]
    """
    data = load(task)
    pixels, classes = data.train_x.shape[1], data.classes
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        if task.model == "cnn":
            return _cnn(round(pixels**0.5), classes)
        return _mlp([pixels, *(task.widths if task.model == "mlp" else ()), classes])


def _mlp(widths: list[int]) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _cnn(side: int, classes: int) -> nn.Module:
    """Two 3 x 3 convolutions of 16 and 32 channels, each with 2 x 2 pooling, and one linear layer."""
    return nn.Sequential(
        nn.Unflatten(1, (1, side, side)),
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Linear(32 * (side // 4) ** 2, classes),
    )
