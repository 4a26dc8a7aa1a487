"""A small transformer for rows of tokens."""

from __future__ import annotations

import torch
from torch import nn

from flwr_byzantine.experiments.tasks.models.dense import Shape

WIDTH, HEADS, LAYERS = 64, 4, 2


def transformer(shape: Shape, classes: int, vocabulary: int) -> nn.Module:
    """Two layers of width 64 with four heads, which read a row and score what follows its last token.

    Source: Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin, NeurIPS 2017; layers normalised at their
        beginning: Xiong et al., ICML 2020.
    """
    return Transformer(shape[0], classes, vocabulary)


class Transformer(nn.Module):
    """Tokens (rows, length) to scores (rows, classes).

    Args:
        length: tokens of a row.
        classes: number of scores.
        vocabulary: number of different tokens.

    Example:
        >>> Transformer(length=8, classes=5, vocabulary=30)(torch.zeros(2, 8, dtype=torch.long)).shape
        torch.Size([2, 5])
    """

    def __init__(self, length: int, classes: int, vocabulary: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(length, WIDTH))
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
        self.scores = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores at the last token, which attends to the whole row."""
        scores: torch.Tensor = self.scores(self.layers(self.tokens(x) + self.places)[:, -1])
        return scores


class Layer(nn.Module):
    """Attention, then two linear layers, each added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(WIDTH), Attention())
        self.think = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, length, width) to the same."""
        x = x + self.attend(x)
        deeper: torch.Tensor = x + self.think(x)
        return deeper


class Attention(nn.Module):
    """Multi-head attention of a row to itself, in plain products of matrices, which torch.func.vmap batches."""

    def __init__(self) -> None:
        super().__init__()
        self.parts, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, length, width) to the same."""
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(-3, -2) for part in self.parts(x).chunk(3, -1))
        weights = torch.softmax(q @ k.mT / (WIDTH / HEADS) ** 0.5, -1)
        mixed: torch.Tensor = self.out((weights @ v).transpose(-3, -2).flatten(-2))
        return mixed
