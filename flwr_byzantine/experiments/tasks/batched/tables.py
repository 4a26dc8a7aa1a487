"""What goes into a round and what comes out of it, as tables: the examples of many clients, their replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.experiments.tasks.training import Examples


@dataclass(frozen=True)
class Answers:
    """The replies of a round.

    Attributes:
        arrays: of each client in the order asked for, name -> array.
        rows: (n, d) the same as vectors, until the next round's are asked for.
    """

    arrays: list[dict[str, Array]]
    rows: Array


@dataclass(frozen=True)
class Table:
    """The examples of several clients one after another.

    Attributes:
        x: all examples, where clients train.
        y: their labels.
        places: client -> place of its first example, and how many it has.
    """

    x: torch.Tensor
    y: torch.Tensor
    places: dict[int, tuple[int, int]]

    @classmethod
    def of(cls, clients: Sequence[int], examples: Sequence[Examples], device: torch.device) -> Table:
        """The table of these clients' examples."""
        x, y = (torch.cat(parts).to(device) for parts in zip(*examples, strict=True))
        ends = np.cumsum([len(labels) for _, labels in examples]).tolist()
        counts = {client: len(labels) for client, (_, labels) in zip(clients, examples, strict=True)}
        return cls(x, y, {client: (end - counts[client], counts[client]) for client, end in zip(clients, ends, strict=True)})


def picked(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """`values[places]`, in half the time."""
    return values.index_select(0, places.flatten()).view(*places.shape, *values.shape[1:])


def split(rows: Array, model: Mapping[str, Array]) -> dict[str, Array]:
    """Name -> (n, *shape) views of the columns that belong to each array."""
    ends = np.cumsum([value.size for value in model.values()])
    return {
        name: rows[:, end - value.size : end].reshape(len(rows), *value.shape)
        for (name, value), end in zip(model.items(), ends, strict=True)
    }


def by_client(found: Mapping[str, Array], model: Mapping[str, Array]) -> list[dict[str, Array]]:
    """What `split` found, as name -> array of each client, in the model's dtypes."""
    count = len(next(iter(found.values())))
    return [{name: found[name][k, ...].astype(value.dtype, copy=False) for name, value in model.items()} for k in range(count)]
