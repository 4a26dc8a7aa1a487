"""ResNet-18 for small images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from flwr_byzantine.experiments.tasks.models.dense import Shape

Norm = Callable[[int], nn.Module]
GROUPS = 32  # of channels, as Wu and He recommend


def resnet18_bn(shape: Shape, classes: int) -> nn.Module:
    """ResNet-18 with batch norm, whose first convolution is 3 x 3 without pooling, as is usual for CIFAR.

    Source: He, Zhang, Ren, Sun, CVPR 2016; class ResNet18 in byzfl/fed_framework/models.py of github.com/LPD-EPFL/byzfl.
    """
    return _resnet18(shape, classes, nn.BatchNorm2d)


def resnet18_gn(shape: Shape, classes: int) -> nn.Module:
    """`resnet18_bn` with group norm, which mixes no examples and keeps no statistics: for clients with unlike data.

    Source: Wu, He, ECCV 2018; in place of batch norm: Hsieh, Phanishayee, Mutlu, Gibbons, ICML 2020.
    """
    return _resnet18(shape, classes, lambda channels: nn.GroupNorm(GROUPS, channels))


def _resnet18(shape: Shape, classes: int, norm: Norm) -> nn.Module:
    widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)  # channels before the first block and after each
    blocks = [Block(a, b, stride=1 if a == b else 2, norm=norm) for a, b in pairwise(widths)]
    stem = (nn.Unflatten(1, shape), nn.Conv2d(shape[0], 64, 3, padding=1, bias=False), norm(64), nn.ReLU())
    return nn.Sequential(*stem, *blocks, Mean(), nn.Linear(512, classes))


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution.
        norm: makes the normalisation of so many channels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), norm(outputs), nn.ReLU()),
            *(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), norm(outputs)),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """ReLU of both ways' sum."""
        return torch.relu(self.body(x) + self.shortcut(x))


class Mean(nn.Module):
    """The mean of each channel; `nn.AdaptiveAvgPool2d` has no rule under torch.func.vmap for the order that channels have in memory."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, channels, height, width) to (rows, channels)."""
        return x.mean((2, 3))
