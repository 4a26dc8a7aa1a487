"""`Adapters`: updates of which some layers are products of low rank (LoRA), beside ordinary arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.factors import Factors, best, deltas_gram, multiplies_in_float32, sq_distance, stacked, zero
from flwr_byzantine.arrays.parallel import AfterPart
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.arrays.updates import SAMPLE, Updates
from flwr_byzantine.arrays.window import Window
from flwr_byzantine.errors import InvalidParameter

NO_COORDINATES = "a rule that works coordinate by coordinate has nothing to change in the products of LoRA's factors; " + (
    "take one that weighs whole updates (FLAME: noise=0), or leave out lora="
)


@dataclass(frozen=True)
class Layer:
    """One adapted layer.

    Attributes:
        rows: n matrices of one shape and any ranks.
        base: the broadcast one, which the aggregate's delta is added to.
        origin: what rows are measured from: `base`, or None for zero where clients send what they add to it.
    """

    rows: Sequence[Factors]
    base: Factors
    origin: Factors | None

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrices."""
        return len(self.base.b), self.base.a.shape[1]

    @property
    def width(self) -> int:
        """Number of their entries."""
        return self.shape[0] * self.shape[1]

    def combined(self, weights: Array) -> Factors:
        """The exact base + Σ_i weights_i (row_i - origin), each row in its own singular basis, whatever basis its client chose."""
        rest = 1.0 if self.origin is None else 1.0 - float(weights.sum())
        terms = [row.times(weight) for row, weight in zip(self.rows, weights.tolist(), strict=True) if weight]
        terms += [self.base.times(rest)] if abs(rest) > 1e-12 or not terms else []
        return stacked(best(term, term.rank)[0] for term in terms)

    def difference(self, matrix: Factors) -> Factors:
        """What a result adds to the broadcast matrix, of a rank that no run of rounds makes grow."""
        found = stacked([matrix, self.base.times(-1.0)])
        return best(found, min(found.rank, self.base.rank + max(row.rank for row in self.rows), *self.shape))[0]

    def at(self, entries: Array) -> Array:
        """(n, c) float64 entries of the deltas."""
        places = np.divmod(entries, self.shape[1])
        origin = 0.0 if self.origin is None else self.origin.at(*places)
        return np.array([row.at(*places) - origin for row in self.rows]).reshape(len(self.rows), len(entries))


class Adapters(Updates):
    """n updates, each of ordinary arrays and of matrices that are held as factors: all that mixing rules ask of updates.

    Coordinates are those of the ordinary arrays, then the entries of each matrix; `combine` gives the ordinary arrays, then b and a of each
    layer. A vector in the form of `deltas` holds factors, and zeros of any number stand for the zero update.

    Args:
        layers: the adapted ones, each with n rows.
        blocks: the ordinary arrays.
        ids: as for `Updates`, and so is `after_part`.
        after_part: called after each part of a pass.

    Example:
        >>> rows = [Factors(np.eye(3)[:, :r], np.eye(3)[:r]) for r in (1, 2, 3)]
        >>> updates = Adapters([Layer(rows, zero(3, 3), None)])
        >>> updates.gram().tolist(), updates.d
        ([[1.0, 1.0, 1.0], [1.0, 2.0, 2.0], [1.0, 2.0, 3.0]], 9)
    """

    def __init__(
        self, layers: Sequence[Layer], blocks: Sequence[Block] = (), ids: Sequence[int] | None = None, after_part: AfterPart | None = None
    ) -> None:
        super().__init__(blocks, ids, after_part)
        self.layers = list(layers)
        self.n, self.flat = len(self.layers[0].rows), self.d
        self.d += sum(layer.width for layer in self.layers)
        self.ids = list(range(self.n)) if ids is None else list(ids)

    @property
    def blocks(self) -> list[Block]:
        """Not to be had.

        Raises:
            InvalidParameter: always.
        """
        raise InvalidParameter(NO_COORDINATES)

    @property
    def _plain(self) -> Updates | None:
        return Updates(self._blocks, self.ids, self.after_part) if self._blocks else None

    def finite(self) -> list[bool]:
        """For each row, whether all of its values are finite."""
        plain = [True] * self.n if self._plain is None else self._plain.finite()
        rows = zip(*(layer.rows for layer in self.layers), strict=True)
        low = [all(np.isfinite(row.b).all() and np.isfinite(row.a).all() for row in own) for own in rows]
        return [one and other for one, other in zip(plain, low, strict=True)]

    def take(self, indices: Sequence[int]) -> Adapters:
        """The same layers with these rows only."""
        layers = [replace(layer, rows=[layer.rows[i] for i in indices]) for layer in self.layers]
        blocks = [replace(block, rows=[block.rows[i] for i in indices]) for block in self._blocks]
        return Adapters(layers, blocks, [self.ids[i] for i in indices], self.after_part)

    def append(self, vectors: Sequence[Array]) -> Adapters:
        """The same rows and below them `vectors`, each in the form of `deltas`, or zeros of any number."""
        rows = [self._unpacked(vector) for vector in vectors]
        plain = None if self._plain is None else self._plain.append([flat for flat, _ in rows])
        layers = [replace(layer, rows=[*layer.rows, *(found[k] for _, found in rows)]) for k, layer in enumerate(self.layers)]
        return Adapters(layers, [] if plain is None else plain.blocks, [*self.ids, *(-1 for _ in vectors)], self.after_part)

    def deltas(self, values: Sequence[Array]) -> Array:
        """A result's difference to the broadcast model as float64 numbers: ranks, ordinary arrays, factors.

        What rules remember of a round (centered clipping's centre) has a bounded rank: the best of the rank of the broadcast matrix and the
        largest of the rows' together.
        """
        plain = np.zeros(0) if self._plain is None else self._plain.deltas(values[: len(self._blocks)])
        return packed(plain, [layer.difference(row) for layer, row in zip(self.layers, self.matrices(values), strict=True)])

    def length(self, values: Sequence[Array]) -> float:
        """The norm of a result's difference to the broadcast model."""
        plain = 0.0 if self._plain is None else float(np.linalg.norm(self._plain.deltas(values[: len(self._blocks)])))
        squares = [sq_distance(row, layer.base) for layer, row in zip(self.layers, self.matrices(values), strict=True)]
        return float(np.sqrt(plain**2 + sum(squares)))

    def matrices(self, values: Sequence[Array]) -> list[Factors]:
        """Of what `combine` gave, each layer's matrix."""
        return [Factors(values[k], values[k + 1]) for k in range(len(self._blocks), len(values), 2)]

    def _unpacked(self, vector: Array) -> tuple[Array, list[Factors]]:
        """The deltas of the ordinary arrays, and each layer's row that has this delta to its origin."""
        ends = len(self.layers) + self.flat
        vector = vector if vector.any() else np.zeros(ends)
        flat, rows = vector[len(self.layers) : ends], []
        for rank, layer in zip(vector.astype(np.int64), self.layers, strict=False):
            (p, q), parts = layer.shape, [] if layer.origin is None else [layer.origin]
            b, a = np.split(vector[ends : ends + rank * (p + q)], [rank * p])
            parts += [Factors(b.reshape(p, -1), a.reshape(-1, q))] if rank else []
            rows.append(stacked(parts) if parts else zero(p, q))
            ends += rank * (p + q)
        return flat, rows

    def at(self, coordinates: Array) -> Array:
        """(n, len(coordinates)) float64 deltas at these coordinates, which ascend."""
        parts, start = [] if self._plain is None else [self._plain.at(coordinates[coordinates < self.flat])], self.flat
        for layer in self.layers:
            inside = coordinates[(coordinates >= start) & (coordinates < start + layer.width)] - start
            parts.append(layer.at(inside))
            start += layer.width
        return np.concatenate(parts, axis=1)

    def sample(self, size: int = SAMPLE, mixing: Array | None = None) -> Array:
        """(n, ≤ size) float64 deltas at evenly spaced coordinates."""
        values = self.at(np.arange(0, self.d, max(1, -(-self.d // size))))
        return values if mixing is None else np.asarray(mixing @ values)

    def _centres(self, row: int | None = None) -> list[Any]:
        plain = [block.origin if row is None else block.rows[row] for block in self._blocks]
        return [*plain, *(layer.origin if row is None else layer.rows[row] for layer in self.layers)]

    def _split(self, centres: Sequence[Any]) -> tuple[Sequence[Any], Iterable[tuple[Layer, Any]]]:
        count = len(self._blocks)
        return centres[:count], zip(self.layers, centres[count:], strict=True)

    def _multiplies_in_float32(self) -> bool:
        plain = self._plain is not None and self._plain._multiplies_in_float32()
        return plain or any(multiplies_in_float32(layer.rows) for layer in self.layers)

    def _gram(self, centres: Sequence[Any], exact: bool) -> Array:
        plain, layers = self._split(centres)
        total = np.zeros((self.n, self.n)) if self._plain is None else self._plain._gram(plain, exact)
        for layer, centre in layers:
            total += deltas_gram(layer.rows, centre, exact)
        return total

    def _scaled_gram(self, factors: Array, centre: int | None) -> Array:
        total = np.zeros((self.n, self.n)) if self._plain is None else self._plain._scaled_gram(factors, centre)
        for layer in self.layers:
            G = factors[:, None] * deltas_gram(layer.rows, layer.origin) * factors
            total += G if centre is None else G - G[centre] - G[:, centre, None] + G[centre, centre]
        return total

    def _peaks(self) -> Array:
        peaks = [np.zeros(self.n)] if self._plain is None else [self._plain._peaks()]
        peaks += [np.sqrt([sq_distance(row, layer.origin or zero(*layer.shape)) for row in layer.rows]) for layer in self.layers]
        return np.asarray(np.max(peaks, axis=0))

    def _distances(self, left: Sequence[int], right: Sequence[int]) -> Array:
        total = np.zeros(len(left)) if self._plain is None else self._plain._distances(left, right)
        for layer in self.layers:
            total += [sq_distance(layer.rows[i], layer.rows[j]) for i, j in zip(left, right, strict=True)]
        return total

    def _sq_distances_to(self, centres: Sequence[Any]) -> Array:
        plain, layers = self._split(centres)
        total = np.zeros(self.n) if self._plain is None else self._plain._sq_distances_to(plain)
        for layer, centre in layers:
            total += [sq_distance(row, zero(*layer.shape) if centre is None else centre) for row in layer.rows]
        return total

    def _compare(self, i: int, j: int) -> int:
        sign = 0 if self._plain is None else self._plain._compare(i, j)
        keys = [[(row.rank, row.b.tobytes(), row.a.tobytes()) for row in (layer.rows[i], layer.rows[j])] for layer in self.layers]
        first = next((-1 if one < other else 1 for one, other in keys if one != other), i - j)
        return sign if sign not in (0, i - j) else first

    def combine(self, weights: Array) -> list[Array]:
        """Each ordinary array as `Updates.combine` makes it, then float64 b and a of each layer's exact combination, of whatever rank."""
        plain = [] if self._plain is None else self._plain.combine(weights)
        made = [layer.combined(weights) for layer in self.layers]
        return [*plain, *(side for row in made for side in (row.b, row.a))]

    def windows(self, window: Window, mixing: Array | None = None) -> list[Array]:
        """Not to be had.

        Raises:
            InvalidParameter: always.
        """
        raise InvalidParameter(NO_COORDINATES)

    def shifted(self, values: Sequence[Array], steps: Iterable[Array]) -> list[Array]:
        """Not to be had.

        Raises:
            InvalidParameter: always.
        """
        raise InvalidParameter(NO_COORDINATES)


def packed(flat: Array, matrices: Sequence[Factors]) -> Array:
    """An update as one vector: the rank of each layer's delta, the ordinary arrays' deltas, and the factors."""
    ranks = np.array([matrix.rank for matrix in matrices], np.float64)
    return np.concatenate([ranks, flat, *(side.ravel() for matrix in matrices for side in (matrix.scale * matrix.b, matrix.a))])
