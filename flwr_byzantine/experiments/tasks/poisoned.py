"""Attacks on data, carried out on a task's rows: attacks see images in their own units, models see rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flwr_byzantine.attacks import Attack, DataAttack
from flwr_byzantine.attacks.data import Predict
from flwr_byzantine.attacks.pixel_backdoors import PatchBackdoor
from flwr_byzantine.attacks.poisoning import poisoned
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks.data import Data

if TYPE_CHECKING:
    import torch

    Examples = tuple[torch.Tensor, torch.Tensor]


def check_examples(attack: Attack, shape: Sequence[int]) -> None:
    """Raise `InvalidParameter` where the attack puts a patch on images and the examples, of this shape, are none.

    Example:
        >>> from flwr_byzantine.attacks import Backdoor
        >>> check_examples(Backdoor(), (3, 32, 32))
        >>> check_examples(Backdoor(), (32,))
        Traceback (most recent call last):
        ...
        flwr_byzantine.errors.InvalidParameter: Backdoor puts a patch on images, and an example here is a row of 32 values; ...
    """
    if isinstance(attack, PatchBackdoor) and len(shape) != 3:
        what = f"{type(attack).__name__} puts a patch on images, and an example here is a row of {shape[0]} values"
        raise InvalidParameter(f"{what}; take an attack on labels, such as label-flip")


def poison(data: Data, attack: DataAttack, clean: Examples, seed: int, attacker: int, predict: Predict | None = None) -> Examples:
    """The attacker's training rows, poisoned; `predict` takes rows."""
    check_examples(attack, data.shape)
    scale = data.train_scale
    shown = None if predict is None else lambda images: predict(scale.rows(images))
    x, y = poisoned((scale.images(clean[0]), clean[1]), attack, data.classes, seed, attacker, predict=shown)
    return scale.rows(x), y


def triggered(data: Data, attack: Attack | None) -> Examples | None:
    """The test rows with the attack's trigger, and the labels that it wants; None where no attack on data wants any."""
    if not isinstance(attack, DataAttack):
        return None
    check_examples(attack, data.shape)
    x, wanted = attack.triggered(data.test_scale.images(data.test_x), data.test_y, data.classes)
    return (data.test_scale.rows(x), wanted) if len(wanted) else None
