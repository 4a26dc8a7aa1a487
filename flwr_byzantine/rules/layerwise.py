"""LASA: in each layer, the mean of the clients whose update of it has an ordinary length and ordinary signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules import influence
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.clipping import clip_factors
from flwr_byzantine.rules.results import Reduced
from flwr_byzantine.rules.server import Layer
from flwr_byzantine.rules.view import View, rows_of

ROUNDING = 1e-9  # in standard deviations: signs are few, so that many are as far from the median as the bound itself


@dataclass(frozen=True)
class LASA(Rule):
    """Layer by layer the mean of the clipped updates of the clients whose lengths and signs, sparsified, are near the median.

    Updates are clipped to the median length. Of each one's weights (arrays of two or more dimensions) the share `sparsity` with the
    smallest values is set to zero, for the filter only. In each layer, a client stays whose length is nearer to the median
    than `length` standard deviations of all lengths, and whose positive direction purity, (1 + Σ sign / Σ |sign|) / 2, is nearer
    than `sign`. Where none has both, all stay.

    A client's score is the share of layers that it was left out of. The layers come from the strategy, or by `layout=`: name -> shape;
    without it, all coordinates are one.

    Args:
        f: number of Byzantine rows to withstand; needs n >= 2f + 1. Only this condition uses it, the rule does not.
        sparsity: share of the weights that the filter does not look at.
        length: the paper's λ of magnitudes, in standard deviations.
        sign: the paper's λ of directions.

    Source: Xu, Zhang, Hu, WACV 2025 (arXiv 2409.01435).

    Example:
        >>> X = np.array([[1.0, 2.0, 3.0], [1.1, 2.0, 2.9], [0.9, 2.0, 3.1], [-9.0, -18.0, -27.0]])
        >>> LASA()(X, layout={"w": (3, 1)}).round(1).tolist()
        [1.0, 2.0, 3.0]
    """

    f: int = param(0, ge=0)
    sparsity: float = param(0.3, kind=float, ge=0, lt=1)
    length: float = param(2.0, kind=float, gt=0)
    sign: float = param(1.0, kind=float, gt=0)
    equivariant: ClassVar[bool] = False
    cost: ClassVar[str] = "nd"
    uses_gram: ClassVar[bool] = False
    reference: ClassVar[str] = "Xu, Zhang, Hu, arXiv 2409.01435, 2025"

    def reduced(self, view: View, n: int) -> Reduced:
        """The means, layer by layer, and who was in them."""
        rows = rows_of(view)
        lengths = np.linalg.norm(rows, axis=1)
        clipped, sparse = rows * clip_factors(lengths, float(np.median(lengths)))[:, None], self._sparse(rows, view.layout.layers)
        value, shares, out = np.zeros(rows.shape[1]), np.zeros(view.n), np.zeros(view.n)
        for layer in view.layout.layers:
            stay = self._ordinary(sparse[:, layer.place])
            value[layer.place] = clipped[stay][:, layer.place].mean(axis=0)
            shares += layer.size * stay / stay.sum()
            out += ~stay / len(view.layout.layers)
        return Reduced(_blocks(view, value), None, influence.shares(_of_updates(view, shares, n)), _of_updates(view, out, n))

    def _sparse(self, rows: Array, layers: list[Layer]) -> Array:
        """The rows without the smallest of their weights; of all values where no array is a matrix."""
        weights = [layer for layer in layers if len(layer.shape) >= 2] or layers
        places = np.concatenate([np.arange(layer.place.start, layer.place.stop) for layer in weights])
        least = len(places) - int(len(places) * (1 - self.sparsity))
        sparse = rows.copy()
        if least:
            values = np.abs(rows[:, places])
            cut = np.partition(values, least - 1, axis=1)[:, least - 1 : least]
            sparse[:, places] = np.where(values <= cut, 0.0, rows[:, places])
        return sparse

    def _ordinary(self, rows: Array) -> Array:
        """(n,) bool, whose length and signs are near the median; all where none are."""
        signs = np.sign(rows)
        purity = (1 + ratio(signs.sum(axis=1), np.abs(signs).sum(axis=1))) / 2
        both = (_deviations(np.linalg.norm(rows, axis=1)) < self.length - ROUNDING) & (_deviations(purity) < self.sign - ROUNDING)
        return both if both.any() else np.ones(len(rows), bool)


def ratio(parts: Array, wholes: Array) -> Array:
    """Parts of wholes; 0 of nothing."""
    return np.asanyarray(parts / np.where(wholes > 0, wholes, 1.0))


def _deviations(values: Array) -> Array:
    """(n,) distances to the median in standard deviations of all; 0 where all are the same."""
    unit = np.abs(values).max() or 1.0
    values = values / unit
    spread = float(values.std())
    return np.asanyarray(np.abs(values - np.median(values)) / spread) if spread > 1e-12 else np.zeros(len(values))


def _blocks(view: View, delta: Array) -> list[Array]:
    """The origin moved by a (d,) delta, one array for each block."""
    origins = view.updates.combine(np.zeros(view.updates.n))
    scales = [block.scale for block in getattr(view.updates, "blocks", [])] or [1.0] * len(origins)
    parts = np.split(delta, np.cumsum([len(origin) for origin in origins])[:-1])
    return view.updates.shifted(origins, [part / scale for part, scale in zip(parts, scales, strict=True)])


def _of_updates(view: View, values: Array, n: int) -> Array:
    """What rows own, of the updates that they were made of."""
    return values if view.rows is None else np.asanyarray(np.abs(values @ view.rows[:, :n]))
