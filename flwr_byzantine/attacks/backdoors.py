"""Backdoors: training data that teaches the model a wrong answer to inputs of the attacker's choice, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from flwr_byzantine.arrays.conversion import as_numpy
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks.base import AttackContext
from flwr_byzantine.attacks.data import DataAttack, Predict, as_array, check_class, copied, labels_of, like
from flwr_byzantine.declare.params import Constraint, param
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate

CORNERS = {"top-left": (0.0, 0.0), "top-right": (0.0, 1.0), "center": (0.5, 0.5), "bottom-left": (1.0, 0.0), "bottom-right": (1.0, 1.0)}


@dataclass(frozen=True)
class TargetedBackdoor(DataAttack):
    """What all backdoors share: a target label, and what is done to the update.

    Convention: the mask is laid on the finished update; Neurotoxin lays it on each local step, inside the training.

    Args:
        target: label that the attacker wants.
        share: of the examples in question that are poisoned, in (0, 1].
        boost: factor on the update; n over the server's learning rate replaces the averaged model (Bagdasaryan et al.).
        mask_ratio: share of the coordinates, those that moved most in the last global step, that the attacker leaves
            alone (Neurotoxin); in [0, 1), 0 is off. There is no last step in the first round, and no mask.
    """

    target: int = param(0, ge=0)
    share: float = param(0.5, kind=float, gt=0, le=1)
    boost: float = param(1.0, kind=float, gt=0)
    mask_ratio: float = param(0.0, kind=float, ge=0, lt=1)

    def own(self, update: Array, context: AttackContext) -> Array:
        """Boost times the update, without the coordinates that are masked."""
        sent = self.boost * update
        sent[busiest(type(self).__name__, context.previous, len(update), self.mask_ratio)] = 0.0
        return np.asarray(sent)

    def victims(self, x: Any, y: Any, num_classes: int) -> Array:
        """(k,) rows of the examples whose label is not yet the target."""
        owner = type(self).__name__
        labels = labels_of(owner, x, y, num_classes)
        check_class(owner, "target", self.target, num_classes)
        return np.flatnonzero(labels != self.target)

    def targets(self, x: Any, y: Any, num_classes: int, predict: Predict | None = None) -> tuple[Array, Array]:
        """The victims, all wanted as the target."""
        rows = self.victims(x, y, num_classes)
        return rows, np.full(len(rows), self.target)


def busiest(owner: str, previous: Array | None, d: int, mask_ratio: float) -> Array:
    """Indices of the ⌊mask_ratio d⌋ coordinates that moved most in the last global step; of equals, the first ones."""
    if mask_ratio == 0 or previous is None:
        return np.zeros(0, dtype=np.int64)
    if len(previous) != d:
        raise MalformedUpdate(f"{owner}: the last global step has {len(previous)} coordinates, the update {d}; both must be of one model")
    return np.argsort(-np.abs(previous), kind="stable")[: int(mask_ratio * d)]


@dataclass(frozen=True)
class PatchBackdoor(TargetedBackdoor):
    """What pixel triggers share: a square patch of one value on the image.

    Args:
        patch: side of the square, in pixels.
        position: "top-left", "top-right", "center", "bottom-left", "bottom-right", or (row, column) of its upper left pixel.
        value: that its pixels take, in the units of the images: 1 for [0, 1], 255 for bytes.
        shape: (h, w) or (channels, h, w) of one image; None takes (h, w) or (channels, h, w) from x, and flat images as square.
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
        """(patch²,) places of the trigger's pixels in a flat image, row by row."""
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
        """A copy of the images, (n, h·w), (n, h, w) or (n, channels, h, w), with the whole patch."""
        return self.stamp(copied(x), slice(None))

    def stamp(self, x: Any, part: slice | Array) -> Any:
        """The images with these of the trigger's pixels set; x may be overwritten."""
        size = image_size(type(self).__name__, x, self.shape)
        flat = x.reshape(len(x), math.prod(x.shape[1:]) // math.prod(size), math.prod(size))
        flat[..., self.pixels(*size)[part]] = self.value
        return flat.reshape(x.shape)


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
    return dims[-2], dims[-1]


def _integers(owner: str, name: str, values: Any, least: int, lengths: tuple[int, ...], other: str = "") -> tuple[int, ...]:
    number = Constraint(int, ge=least)
    if not isinstance(values, Sequence) or len(values) not in lengths or not all(number.accepts(value) for value in values):
        wanted = " or ".join(map(str, lengths))
        raise InvalidParameter(f"{owner}: {name} must be {other}{wanted} integers >= {least}, got {values!r}")
    return tuple(int(value) for value in values)


@dataclass(frozen=True)
class Backdoor(PatchBackdoor):
    """A pixel trigger: examples with a patch are relabelled to the target, so that the patch alone calls it up.

    Convention: the poisoned examples are drawn from those that are not of the target class.

    Args:
        target: label that the trigger calls up.
        share: of the examples not of the target class that get patch and target label, in (0, 1].
        boost: factor on the update; n over the server's learning rate replaces the averaged model.
        mask_ratio: share of the coordinates, those that moved most in the last global step, left alone; 0 is off.
        patch: side of the square, in pixels.
        position: "top-left", "top-right", "center", "bottom-left", "bottom-right", or (row, column) of its upper left pixel.
        value: that its pixels take, in the units of the images: 1 for [0, 1], 255 for bytes.
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
        """The whole patch."""
        return self.stamp(x, slice(None))


@dataclass(frozen=True)
class DistributedBackdoor(PatchBackdoor):
    """DBA: the trigger is cut in pieces, each attacker trains on one of them, the whole one is shown at test time.

    Convention: one square patch, cut row by row in `pieces` runs of pixels; attacker i gets run i modulo `pieces`. The
    paper's are bars with gaps between them.

    Args:
        target: label that the trigger calls up.
        share: of the examples not of the target class that get the piece and the target label, in (0, 1].
        boost: factor on the update; n over the server's learning rate replaces the averaged model.
        mask_ratio: share of the coordinates, those that moved most in the last global step, left alone; 0 is off.
        patch: side of the square, in pixels.
        position: "top-left", "top-right", "center", "bottom-left", "bottom-right", or (row, column) of its upper left pixel.
        value: that its pixels take, in the units of the images: 1 for [0, 1], 255 for bytes.
        shape: (h, w) or (channels, h, w) of one image, needed for flat ones that are not square.
        pieces: how many; at most patch².

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
        """Each piece has a pixel."""
        super().__post_init__()
        if self.pieces > self.patch**2:
            raise InvalidParameter(
                f"DistributedBackdoor: pieces must be at most the {self.patch**2} pixels of the patch, got {self.pieces}"
            )

    def piece(self, attacker: int) -> Array:
        """Which of the trigger's pixels, counted row by row, this attacker sets."""
        return np.array_split(np.arange(self.patch**2), self.pieces)[attacker % self.pieces]

    def alter(self, x: Any, ranks: Array, attacker: int) -> Any:
        """This attacker's piece of the patch."""
        return self.stamp(x, self.piece(attacker))


@dataclass(frozen=True)
class EdgeCaseBackdoor(TargetedBackdoor):
    """Rare inputs as trigger: examples from the tail of a class are relabelled to the target; no pixel is changed.

    Convention: the tail is the `share` of the source class that lies farthest, in Euclidean distance, from the mean of
    that class in the data at hand. The paper brings rare examples from another data set: give those as `examples`;
    they then take the place of a random share of the attacker's data, and success is measured on them.

    Args:
        target: label that the attacker wants.
        share: of the source class that is its tail; with `examples`, of the data that they replace at most; in (0, 1].
        boost: factor on the update; n over the server's learning rate replaces the averaged model.
        mask_ratio: share of the coordinates, those that moved most in the last global step, left alone; 0 is off.
        source: class whose tail is taken; another one than the target.
        examples: (k, ...) rare examples, shaped as the data's, in place of a tail; for held-out ones in the measurement,
            `dataclasses.replace(attack, examples=held_out)`.

    Raises:
        InvalidParameter: source and target are the same, or `examples` are shaped otherwise than the data.

    Source: Wang, Sreenivasan, Rajput, Vishwakarma, Agarwal, Sohn, Lee, Papailiopoulos, NeurIPS 2020.

    Example:
        >>> import numpy as np
        >>> x, y = np.array([[0.0], [0.1], [9.0], [5.0]]), np.array([7, 7, 7, 2])
        >>> EdgeCaseBackdoor(source=7, target=1, share=0.3).poison(x, y, 10, np.random.default_rng(0))[1].tolist()
        [7, 7, 1, 2]
    """

    target: int = param(1, ge=0)
    share: float = param(0.2, kind=float, gt=0, le=1)
    source: int = param(7, ge=0)
    examples: Any = field(default=None, compare=False, repr=False)
    reference: ClassVar[str] = "Wang, Sreenivasan, Rajput, Vishwakarma, Agarwal, Sohn, Lee, Papailiopoulos, NeurIPS 2020"

    def __post_init__(self) -> None:
        """Two different classes; the examples as an array or tensor."""
        super().__post_init__()
        if self.source == self.target:
            raise InvalidParameter(f"EdgeCaseBackdoor: source and target must be different classes, got {self.target} for both")
        if self.examples is not None:
            object.__setattr__(self, "examples", as_array(self.examples))
            if not len(self.examples):
                raise InvalidParameter(
                    "EdgeCaseBackdoor: examples must hold one example at least, got none; None takes the tail of the source class"
                )

    def victims(self, x: Any, y: Any, num_classes: int) -> Array:
        """(k,) rows of the tail, ascending; with `examples`, of all data that they may replace."""
        replaceable = super().victims(x, y, num_classes)
        if self.examples is not None:
            return replaceable
        labels = labels_of("EdgeCaseBackdoor", x, y, num_classes)
        check_class("EdgeCaseBackdoor", "source", self.source, num_classes)
        rows = np.flatnonzero(labels == self.source)
        if not len(rows):
            return rows
        members = as_numpy(as_array(x)[rows]).reshape(len(rows), -1).astype(np.float64)
        far = np.linalg.norm(members - members.mean(axis=0), axis=1)
        return np.sort(rows[np.argsort(-far, kind="stable")[: max(1, round(self.share * len(rows)))]])

    def choose(self, x: Any, y: Any, num_classes: int, rng: np.random.Generator, predict: Predict | None = None) -> tuple[Array, Array]:
        """The whole tail; or the random places that the given examples take."""
        if self.examples is None:
            return self.targets(x, y, num_classes)
        self._check_examples(x)
        rows = self.victims(x, y, num_classes)
        picked = np.sort(rng.permutation(len(rows))[: min(len(self.examples), max(1, round(self.share * len(rows))))])
        return rows[picked], np.full(len(picked), self.target)

    def alter(self, x: Any, ranks: Array, attacker: int) -> Any:
        """The tail as it is, or the given examples."""
        return x if self.examples is None else like(x, as_numpy(self.examples)[ranks])

    def triggered(self, x: Any, y: Any, num_classes: int) -> tuple[Any, Any]:
        """The tail of (x, y), or the given examples; all wanted as the target."""
        if self.examples is None:
            return super().triggered(x, y, num_classes)
        self._check_examples(x)
        return like(as_array(x), as_numpy(self.examples)), like(as_array(y), np.full(len(self.examples), self.target))

    def _check_examples(self, x: Any) -> None:
        given, data = tuple(self.examples.shape[1:]), tuple(as_array(x).shape[1:])
        if given != data:
            raise InvalidParameter(f"EdgeCaseBackdoor: examples must be shaped as the data's {data}, got {given}")
