"""A small network for text, by name in text.toml: it embeds the last characters of a row, and guesses the next one."""

from __future__ import annotations

import torch
from torch import nn


class Last(nn.Module):
    """The last `count` tokens of each row."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(rows, length) to (rows, count)."""
        return tokens[:, -self.count :]


def network(shape: tuple[int, ...], classes: int, vocabulary: int) -> nn.Module:
    """(rows, length) tokens to (rows, classes) scores, linear in 16 values for each of the last four characters.

    Source: the log-bilinear language model of Mnih and Hinton, ICML 2007.
    """
    return nn.Sequential(Last(4), nn.Embedding(vocabulary, 16), nn.Flatten(), nn.Linear(4 * 16, classes))
