"""Models of linear layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

Shape = tuple[int, ...]


def mlp(shape: Shape, classes: int, hidden: Sequence[int] = (), dropout: float = 0.0) -> nn.Sequential:
    """A multilayer perceptron with ReLU.

    Args:
        shape: of an example.
        classes: number of scores.
        hidden: widths of the hidden layers.
        dropout: share of each hidden layer's values that training leaves out.

    Example:
        >>> [tuple(weight.shape) for weight in mlp((1, 8, 8), 10, (12,)).parameters()]
        [(12, 64), (12,), (10, 12), (10,)]
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([math.prod(shape), *hidden]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Linear(hidden[-1] if hidden else math.prod(shape), classes))


def softmax(shape: Shape, classes: int) -> nn.Module:
    """Softmax regression: one linear layer."""
    return mlp(shape, classes)


def flanders_mlp(shape: Shape, classes: int) -> nn.Module:
    """FLANDERS' network for Fashion-MNIST: 256, 128 and 64 hidden units, dropout 0.2 after each.

    Their one for MNIST is `mlp` with 128 hidden units in their code, and `blades_mlp` in its README.

    Source: Gabrielli, Tolomei, Belli, Miori, 2023; baselines/flanders/flanders/models.py of github.com/adap/flower.
    """
    return mlp(shape, classes, (256, 128, 64), dropout=0.2)


def blades_mlp(shape: Shape, classes: int) -> nn.Module:
    """Blades' network for MNIST: 128 and 256 hidden units, dropout 0.2 after each.

    Source: Li, Ngai, Ye, Ju, Zhang, Voigt, IoTDI 2024; src/blades/models/mnist/mlp.py of github.com/lishenghui/blades.
    """
    return mlp(shape, classes, (128, 256), dropout=0.2)
