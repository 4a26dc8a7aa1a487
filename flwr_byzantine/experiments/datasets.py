"""The data sets by name: their sizes, known without reading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flwr_byzantine.declare.names import check_options, unknown_name
from flwr_byzantine.declare.own import OWN
from flwr_byzantine.errors import InvalidParameter

HUB = "hf:"
HUB_OPTIONS = ("image", "label", "group", "subset", "train", "test")
IMAGE_28, IMAGE_32 = (1, 28, 28), (3, 32, 32)
MNIST_SCALE = ((0.1307,), (0.3081,))
CIFAR_SCALE = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


@dataclass(frozen=True)
class Dataset:
    """What is known of a data set.

    Attributes:
        shape: (channels, height, width) of an image, or (length,) of a row of tokens.
        classes: how many.
        train: examples for the clients, the validation split included; 0 where it depends on the machine.
        test: examples that the reported accuracy is of.
        vocabulary: how many different tokens; 0 for images.
        scale: mean and deviation of each channel in publications; None takes those of the training data.
    """

    shape: tuple[int, ...]
    classes: int
    train: int
    test: int
    vocabulary: int = 0
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def _emnist(classes: int, train: int, test: int) -> Dataset:
    return Dataset(IMAGE_28, classes, train, test, scale=MNIST_SCALE)


DATASETS = {
    "digits": Dataset((1, 8, 8), 10, 1_347, 450),
    "mnist": Dataset(IMAGE_28, 10, 60_000, 10_000, scale=MNIST_SCALE),
    "fashion-mnist": Dataset(IMAGE_28, 10, 60_000, 10_000, scale=MNIST_SCALE),  # FLANDERS takes MNIST's figures here
    "kmnist": Dataset(IMAGE_28, 10, 60_000, 10_000),
    "qmnist": Dataset(IMAGE_28, 10, 60_000, 60_000, scale=MNIST_SCALE),
    "emnist-byclass": _emnist(62, 697_932, 116_323),
    "emnist-bymerge": _emnist(47, 697_932, 116_323),
    "emnist-balanced": _emnist(47, 112_800, 18_800),
    "emnist-letters": _emnist(26, 124_800, 20_800),
    "emnist-digits": _emnist(10, 240_000, 40_000),
    "emnist-mnist": _emnist(10, 60_000, 10_000),
    "usps": Dataset((1, 16, 16), 10, 7_291, 2_007),
    "cifar-10": Dataset(IMAGE_32, 10, 50_000, 10_000, scale=CIFAR_SCALE),
    "cifar-100": Dataset(IMAGE_32, 100, 50_000, 10_000, scale=CIFAR_SCALE),
    "svhn": Dataset(IMAGE_32, 10, 73_257, 26_032),
    "pydoc": Dataset((32,), 96, 0, 0, vocabulary=96),
}


def check_dataset(name: str, options: Mapping[str, Any]) -> None:
    """Check that there can be such a data set, without looking for it.

    Args:
        name: one of `DATASETS`, "hf:owner/name", or "module:function".
        options: of a Hugging Face set, or the arguments of the function.

    Raises:
        InvalidParameter: a name of none of these forms, or an option that the set has not.

    Example:
        >>> check_dataset("hf:ylecun/mnist", {"label": "label"})
        >>> check_dataset("cifar10", {})
        Traceback (most recent call last):
        ...
        flwr_byzantine.errors.InvalidParameter: unknown dataset 'cifar10'; did you mean 'cifar-10'? choose one of: cifar-10, ...
    """
    if name in DATASETS:
        check_options(name, options, ())
    elif name.startswith(HUB):
        check_options(name, options, HUB_OPTIONS)
        if not name.removeprefix(HUB).strip("/ "):
            raise InvalidParameter(f"dataset must be 'hf:owner/name', got {name!r}")
    elif not OWN.fullmatch(name):
        several = [known for known in DATASETS if known.startswith(f"{name}-")]
        if several:
            raise InvalidParameter(f"there are several of dataset {name!r}; choose one of: {', '.join(several)}")
        raise unknown_name("dataset", name, [*DATASETS, "hf:owner/name (Hugging Face)", "module:function (your own)"])


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
