"""From examples as they are kept to the rows that a model gets, and back to images as attacks on data take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.datasets import DATASETS

if TYPE_CHECKING:
    import torch

    from flwr_byzantine.experiments.tasks.sources import Raw

NO_DEVIATION = 1e-6  # what rounding makes of none
NORMALIZE = ("none", "standard", "train-only")


@dataclass(frozen=True)
class Scale:
    """How values are shifted and stretched, channel by channel; not at all without `mean`.

    Attributes:
        shape: of one example.
        mean, deviation: of each channel.

    Example:
        >>> import torch
        >>> scale = Scale((1, 1, 2), (0.5,), (0.25,))
        >>> scale.rows(torch.tensor([[[[0.5, 1.0]]]])).tolist()
        [[0.0, 2.0]]
        >>> scale.images(torch.tensor([[0.0, 2.0]])).tolist()
        [[[[0.5, 1.0]]]]
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, values) as the model gets them, from (rows, *shape): bytes, values in [0, 1], or tokens."""
        values = x if x.is_floating_point() or x.element_size() > 1 else x.float().div_(255)
        if self.mean:
            values = (values - self._channels(values, self.mean)) / self._channels(values, self.deviation)
        return values.flatten(1)

    def images(self, rows: torch.Tensor) -> torch.Tensor:
        """(rows, *shape) in the units of the data set, from rows as the model gets them."""
        values = rows.reshape(len(rows), *self.shape)
        return values * self._channels(values, self.deviation) + self._channels(values, self.mean) if self.mean else values

    def _channels(self, like: torch.Tensor, values: tuple[float, ...]) -> torch.Tensor:
        return like.new_tensor(values).view(-1, 1, 1)


def scale_of(dataset: str, raw: Raw, normalize: str) -> tuple[Scale, Scale]:
    """The scale of the training data, and that of whatever models are evaluated on.

    Args:
        dataset: its name; some have means and deviations in publications, others take those of the training data.
        raw: the data set.
        normalize: "none"; "standard": less the mean, over the deviation; "train-only": so for training alone.

    Raises:
        InvalidParameter: tokens or features, which have no channels, are to be normalised.
    """
    shape = tuple(raw.train_x.shape[1:])
    plain = Scale(shape)
    if normalize == "none":
        return plain, plain
    if len(shape) != 3:
        raise InvalidParameter(f"dataset {dataset!r}: normalize is for images, its examples have the shape {shape}; set it to 'none'")
    known = DATASETS[dataset].scale if dataset in DATASETS else None
    standard = Scale(shape, *(known or _measured(plain, raw)))
    return standard, standard if normalize == "standard" else plain


def _measured(plain: Scale, raw: Raw) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel over the training data; a channel without deviation is not stretched."""
    channels = [plain.rows(raw.train_x[:, channel]) for channel in range(plain.shape[0])]
    deviations = [float(part.std(correction=0)) for part in channels]
    return tuple(float(part.mean()) for part in channels), tuple(found if found > NO_DEVIATION else 1.0 for found in deviations)
