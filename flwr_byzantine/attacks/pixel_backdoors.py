"""Backdoors whose trigger is a patch on an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.backdoors import TargetedBackdoor
from flwr_byzantine.attacks.data import copied
from flwr_byzantine.declare.params import Constraint, param
from flwr_byzantine.errors import InvalidParameter

CORNERS = {"top-left": (0.0, 0.0), "top-right": (0.0, 1.0), "center": (0.5, 0.5), "bottom-left": (1.0, 0.0), "bottom-right": (1.0, 1.0)}


@dataclass(frozen=True)
class PatchBackdoor(TargetedBackdoor):
    """What pixel triggers share: a square patch in which all pixels have one value.

    Args:
        patch: side of the square in pixels, at least 1.
        position: "top-left", "top-right", "center", "bottom-left", "bottom-right", or (row, column) of its upper left pixel.
        value: of its pixels, in the units of the images: 1 for [0, 1], 255 for bytes.
        shape: (h, w) or (channels, h, w) of one image; None reads it from x, where flat images are taken as square.
    """

    patch: int = param(3, ge=1)
    position: str | Sequence[int] = "bottom-right"
    value: float = param(1.0, kind=float)
    shape: Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Check position and shape, and store them as tuples."""
        super().__post_init__()
        owner = type(self).__name__
        if not isinstance(self.position, str):
            object.__setattr__(self, "position", _integers(owner, "position", self.position, 0, (2,), f"one of {', '.join(CORNERS)} or "))
        elif self.position not in CORNERS:
            raise InvalidParameter(f"{owner}: position must be one of {', '.join(CORNERS)} or (row, column), got {self.position!r}")
        if self.shape is not None:
            object.__setattr__(self, "shape", _integers(owner, "shape", self.shape, 1, (2, 3)))

    def pixels(self, height: int, width: int) -> Array:
        """(patch²,) indices of the trigger's pixels in a flat image, row by row."""
        spare = (height - self.patch, width - self.patch)
        first = (
            self.position
            if not isinstance(self.position, str)
            else [int(a * b) for a, b in zip(CORNERS[self.position], spare, strict=True)]
        )
        row, column = int(first[0]), int(first[1])
        if row > spare[0] or column > spare[1] or min(row, column, *spare) < 0:
            raise InvalidParameter(
                f"{type(self).__name__}: a patch of side {self.patch} at {self.position} does not fit images of {height} x {width}"
            )
        square = np.add.outer(np.arange(row, row + self.patch) * width, np.arange(column, column + self.patch))
        return square.ravel()

    def trigger(self, x: Any) -> Any:
        """A copy of the images, (n, h·w), (n, h, w) or (n, channels, h, w), with the whole trigger."""
        return self.stamp(copied(x), slice(None))

    def stamp(self, x: Any, part: slice | Array) -> Any:
        """The images with the pixels `part` of the trigger set, counted row by row; x may be overwritten."""
        size = image_size(type(self).__name__, x, self.shape)
        flat = x.reshape(len(x), math.prod(x.shape[1:]) // math.prod(size), math.prod(size))
        flat[..., self.pixels(*size)[part]] = self.value
        return flat.reshape(x.shape)


@dataclass(frozen=True)
class Backdoor(PatchBackdoor):
    """Trains on images with a square patch and the target label, so that the model gives that label to images with the patch.

    The poisoned examples are drawn from those that are not of the target class. Sent is boost · update, masked.

    Args:
        target: label that the model is to give to images with the trigger, at least 0.
        share: of the examples not of the target class that get patch and target label, in (0, 1].
        boost: factor on the update, above 0; with n over the server's learning rate, averaging makes the attacker's model the
            global one.
        mask_ratio: share of the coordinates, those that changed most in the last global step, that get zeros; in [0, 1).
        patch: side of the square in pixels, at least 1.
        position: "top-left", "top-right", "center", "bottom-left", "bottom-right", or (row, column) of its upper left pixel.
        value: of its pixels, in the units of the images: 1 for [0, 1], 255 for bytes.
        shape: (h, w) or (channels, h, w) of one image, needed for flat ones that are not square.

    Raises:
        InvalidParameter: the images have no height and width, or the patch does not fit on them.

    Source: Gu, Dolan-Gavitt, Garg, 2017 (BadNets); boost: Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020;
    mask_ratio: Zhang, Panda, Song, Yang, Mahoney, Mittal, Ramchandran, Gonzalez, ICML 2022.

    Example:
        >>> import numpy as np
        >>> attack = Backdoor(target=7, patch=1, share=1.0)
        >>> x, y = attack.poison(np.zeros((1, 2, 2)), np.array([3]), 10, np.random.default_rng(0))
        >>> x.tolist(), y.tolist()
        ([[[0.0, 0.0], [0.0, 1.0]]], [7])
    """

    reference: ClassVar[str] = "Gu, Dolan-Gavitt, Garg, 2017 (BadNets); Bagdasaryan et al., AISTATS 2020; Zhang et al., ICML 2022"

    def alter(self, x: Any, ranks: Array, attacker: int) -> Any:
        """The images with the whole patch."""
        return self.stamp(x, slice(None))


@dataclass(frozen=True)
class DistributedBackdoor(PatchBackdoor):
    """DBA: as `Backdoor`, with the patch cut in pieces: each attacker trains on one, and success is measured with the whole.

    The square is cut row by row in `pieces` runs of pixels; attacker i trains on run i modulo `pieces`. The paper's pieces
    are bars with gaps between them.

    Args:
        target: label that the model is to give to images with the trigger, at least 0.
        share: of the examples not of the target class that get the piece and the target label, in (0, 1].
        boost: factor on the update, above 0; with n over the server's learning rate, averaging makes the attacker's model the
            global one.
        mask_ratio: share of the coordinates, those that changed most in the last global step, that get zeros; in [0, 1).
        patch: side of the square in pixels, at least 1.
        position: "top-left", "top-right", "center", "bottom-left", "bottom-right", or (row, column) of its upper left pixel.
        value: of its pixels, in the units of the images: 1 for [0, 1], 255 for bytes.
        shape: (h, w) or (channels, h, w) of one image, needed for flat ones that are not square.
        pieces: number of pieces, from 1 to patch².

    Raises:
        InvalidParameter: more pieces than pixels, the images have no height and width, or the patch does not fit on them.

    Source: Xie, Huang, Chen, Li, ICLR 2020.

    Example:
        >>> import numpy as np
        >>> attack = DistributedBackdoor(patch=2, pieces=2, position="top-left", share=1.0)
        >>> x, y = np.zeros((1, 3, 3)), np.array([3])
        >>> [attack.poison(x, y, 10, np.random.default_rng(0), attacker=i)[0][0, :2].tolist() for i in (0, 1)]
        [[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]]
    """

    pieces: int = param(4, ge=1)
    patch: int = param(4, ge=1)
    reference: ClassVar[str] = "Xie, Huang, Chen, Li, ICLR 2020"

    def __post_init__(self) -> None:
        """Check that each piece has a pixel."""
        super().__post_init__()
        if self.pieces > self.patch**2:
            raise InvalidParameter(
                f"DistributedBackdoor: pieces must be at most the {self.patch**2} pixels of the patch, got {self.pieces}"
            )

    def piece(self, attacker: int) -> Array:
        """Indices of the trigger's pixels, counted row by row, that this attacker sets."""
        return np.array_split(np.arange(self.patch**2), self.pieces)[attacker % self.pieces]

    def alter(self, x: Any, ranks: Array, attacker: int) -> Any:
        """The images with this attacker's piece of the patch."""
        return self.stamp(x, self.piece(attacker))


def image_size(owner: str, x: Any, shape: Sequence[int] | None) -> tuple[int, int]:
    """Height and width of the images in x, (n, h·w), (n, h, w) or (n, channels, h, w)."""
    dims = tuple(x.shape[1:])
    if shape is not None:
        if math.prod(dims) != math.prod(shape):
            raise InvalidParameter(f"{owner}: shape {tuple(shape)} does not describe examples of shape {dims}")
        return shape[-2], shape[-1]
    if len(dims) == 1 and math.isqrt(dims[0]) ** 2 == dims[0]:
        return math.isqrt(dims[0]), math.isqrt(dims[0])
    if len(dims) not in (2, 3):
        raise InvalidParameter(f"{owner}: examples of shape {dims} are no square images; pass shape=(h, w) or (channels, h, w)")
    if len(dims) == 3 and dims[-1] <= 4 < dims[0]:
        raise InvalidParameter(
            f"{owner}: examples of shape {dims} seem to have channels last; transpose them to (channels, h, w), or pass shape="
        )
    return dims[-2], dims[-1]


def _integers(owner: str, name: str, values: Any, least: int, lengths: tuple[int, ...], other: str = "") -> tuple[int, ...]:
    """The values as a tuple of integers, checked; `other` says in the error what else is accepted."""
    number = Constraint(int, ge=least)
    if not isinstance(values, Sequence) or len(values) not in lengths or not all(number.accepts(value) for value in values):
        wanted = " or ".join(map(str, lengths))
        raise InvalidParameter(f"{owner}: {name} must be {other}{wanted} integers >= {least}, got {values!r}")
    return tuple(int(value) for value in values)
