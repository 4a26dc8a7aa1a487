"""The data sets by name: their sizes, known without reading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dataset:
    """A data set's size.

    Attributes:
        shape: (channels, height, width) of an image, or (length,) of a row of tokens.
        classes: how many.
        train: examples for the clients, the validation split included.
        test: examples that the reported accuracy is of.
        vocabulary: how many different tokens; 0 for images.
    """

    shape: tuple[int, ...]
    classes: int
    train: int
    test: int
    vocabulary: int = 0


DATASETS = {"digits": Dataset((1, 8, 8), 10, 1_347, 450), "fashion-mnist": Dataset((1, 28, 28), 10, 60_000, 10_000)}


def held_back(config: Mapping[str, Any]) -> int:
    """How many examples the validation split of a cell's configuration has; 0 where that is not known.

    Example:
        >>> held_back({"dataset": "digits", "validation": 0.1})
        135
    """
    found = DATASETS.get(config.get("dataset", ""))
    return round((config.get("validation") or 0.0) * found.train) if found else 0


def chance(config: Mapping[str, Any]) -> float:
    """The accuracy of guessing: one over the number of classes; 0 where that is not known.

    Example:
        >>> chance({"dataset": "digits"})
        0.1
    """
    found = DATASETS.get(config.get("dataset", ""))
    return 1 / found.classes if found else 0.0
