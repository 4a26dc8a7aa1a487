"""The bucketing paper's network as its simulator trains it on a GPU: every worker drops the same units in every round."""

from __future__ import annotations

import torch
from torch import nn

from flwr_byzantine.experiments.tasks.models.convolutional import bucketing_cnn


class SameDropout(nn.Module):
    """Dropout with one mask for each shape of its input, drawn once.

    Args:
        p: share of what is left out.
        seed: of the masks.
        channels: whether whole channels are left out.

    Example:
        >>> drop, x = SameDropout(0.5, seed=1), torch.ones(2, 3)
        >>> bool((drop(x) == drop(x)).all()), drop.eval()(x).tolist()
        (True, [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    """

    def __init__(self, p: float, seed: int, channels: bool = False) -> None:
        super().__init__()
        self.p, self.seed, self.channels = p, seed, channels
        self._masks: dict[tuple[int, ...], torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input with its mask, in training mode; else as it is."""
        return x * self._mask(x) if self.training else x

    def _mask(self, x: torch.Tensor) -> torch.Tensor:
        shape = (*x.shape[:2], 1, 1) if self.channels else tuple(x.shape)
        if shape not in self._masks:
            kept = torch.rand(shape, generator=torch.Generator().manual_seed(self.seed)) >= self.p
            self._masks[shape] = kept / (1 - self.p)
        return self._masks[shape].to(x)


def bucketing_cnn_on_a_gpu(shape: tuple[int, ...], classes: int) -> nn.Module:
    """The model "bucketing-cnn" with the same masks in all rounds, for a sweep's `model`; the masks follow from the task's seed.

    Source: Karimireddy, He, Jaggi, ICLR 2022; codes/simulator.py of github.com/epfml/byzantine-robust-noniid-optimizer puts the GPU's
    random state back after each worker.

    Example:
        >>> sum(value.numel() for value in bucketing_cnn_on_a_gpu((1, 28, 28), 10).parameters())
        1199882
    """
    parts = list(bucketing_cnn(shape, classes).children())[1:]  # what comes in has its shape already
    net = nn.Sequential(*(_same(part) if isinstance(part, nn.Dropout | nn.Dropout2d) else part for part in parts))
    return net.to(memory_format=torch.channels_last)  # convolutions are quicker so


def _same(drop: nn.Dropout | nn.Dropout2d) -> SameDropout:
    return SameDropout(drop.p, int(torch.randint(2**31, ())), isinstance(drop, nn.Dropout2d))
