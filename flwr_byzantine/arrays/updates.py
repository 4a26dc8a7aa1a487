"""`Updates`: the n updates of one round as per-layer blocks of views, and the three passes a rule may make over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import Path
from typing import Any

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.kernels import Window
from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.errors import NotFinite

SAMPLE = 1 << 10  # coordinates looked at for a row's influence in coordinate-wise rules: 1 to 2 points of error in a share
KEYS = 32  # coordinates looked at first when rows are compared
HUGE = 1e150  # norms are cut here: their squares are still far from overflow
ROUGH = 2e-2  # below this share of the norms, a distance from products in float32 is computed again


@dataclass(frozen=True)
class Block:
    """One layer: n flat arrays of one length and dtype, and the broadcast values (None: zeros)."""

    rows: Sequence[Array]
    origin: Array | None = None

    @property
    def width(self) -> int:
        """Number of coordinates."""
        return len(self.rows[0])


class Updates:
    """n updates of d coordinates, held as views on the caller's memory; nothing of size n·d is ever copied.

    Args:
        blocks: one `Block` per layer, each with the same number of rows.
        ids: who sent each row, for rules with a history; their positions by default.

    Raises:
        MalformedUpdate: no rows, or rows that differ in length or are not numbers.

    Example:
        >>> import numpy as np
        >>> updates = Updates([Block(list(np.eye(3)))])
        >>> updates.gram().tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def __init__(self, blocks: Sequence[Block], ids: Sequence[int] | None = None) -> None:
        self.blocks = list(blocks)
        self.ids = list(range(len(self.blocks[0].rows) if self.blocks else 0)) if ids is None else list(ids)
        self.n = len(self.blocks[0].rows) if self.blocks else 0
        self.d = sum(block.width for block in self.blocks)

    @contextmanager
    def spilled(self, directory: str | Path | None = None) -> Iterator[Updates]:
        """The same updates in a memory-mapped temporary file, which lives as long as the `with` block; see `spill.Spill`.

        Args:
            directory: where the file lies; the system's folder for temporary files by default.

        Raises:
            InvalidParameter: the file cannot be written there.

        Example:
            >>> import numpy as np
            >>> with Updates([Block(list(np.eye(2)))]).spilled() as updates:
            ...     updates.combine(np.array([0.5, 0.5]))[0].tolist()
            [0.5, 0.5]
        """
        with Spill(directory) as spill:
            replies = [spill.add([block.rows[i] for block in self.blocks]) for i in range(self.n)]
            yield Updates([Block([reply[k] for reply in replies], block.origin) for k, block in enumerate(self.blocks)], self.ids)

    def finite(self) -> list[bool]:
        """For each row, whether all of its values are finite."""
        return [all(kernels.finite(block.rows[i]) for block in self.blocks) for i in range(self.n)]

    def take(self, indices: Sequence[int]) -> Updates:
        """The same blocks with these rows only."""
        return Updates([Block([block.rows[i] for i in indices], block.origin) for block in self.blocks], [self.ids[i] for i in indices])

    def append(self, vectors: Sequence[Array]) -> Updates:
        """The same rows and below them `vectors`, given as (d,) deltas to the origin: a rule's anchors."""
        blocks, start = [], 0
        for block in self.blocks:
            parts = [np.asarray(vector[start : start + block.width], np.float64) for vector in vectors]
            exact = block.rows[0].dtype if block.rows[0].dtype.kind == "f" and block.rows[0].dtype.itemsize >= 4 else np.float64
            extra = [(part if block.origin is None else part + block.origin).astype(exact) for part in parts]
            blocks.append(Block([*block.rows, *extra], block.origin))
            start += block.width
        return Updates(blocks, [*self.ids, *(-1 for _ in vectors)])

    def deltas(self, values: Sequence[Array]) -> Array:
        """(d,) float64 difference of per-block `values` to the origin."""
        parts = [
            value.astype(np.float64) if block.origin is None else np.subtract(value, block.origin, dtype=np.float64)
            for value, block in zip(values, self.blocks, strict=True)
        ]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def at(self, coordinates: Array) -> Array:
        """(n, len(coordinates)) float64 deltas at these coordinates, which ascend."""
        parts, start = [], 0
        for block in self.blocks:
            inside = coordinates[(coordinates >= start) & (coordinates < start + block.width)] - start
            pick = kernels.followed(lambda row, inside=inside: row[inside])  # type: ignore[misc]
            part = np.array([pick(row) for row in block.rows], dtype=np.float64)
            parts.append(part if block.origin is None else part - block.origin[inside])
            start += block.width
        return np.concatenate(parts, axis=1)

    def gram(self, centred: bool = False) -> Array:
        """(n, n) float64 inner products of the deltas to the origin.

        With `centred`, distances matter and the place of the origin does not: where the rows lie in a
        cluster that is far from the origin compared with its size, a second pass takes the innermost
        row as origin, which keeps ‖x_i - x_j‖² accurate (Gii + Gjj - 2Gij would cancel). Distances that
        products in float32 leave too uncertain are computed again, from differences in float64.

        Raises:
            NotFinite: a value is not.
        """
        origins = self._points()
        G, exact = self._products(origins)
        if centred and self.n > 1 and _cancels(G, 1e-6 if exact else ROUGH):
            origins = self._points(int(np.argmin(np.median(sq_distances(G), axis=1))))
            G, exact = self._products(origins)
        return G if exact else self._refined(G, origins)

    def _points(self, i: int | None = None) -> list[Any]:
        """Per block, row i, or the origin (None: zeros)."""
        return [block.origin if i is None else block.rows[i] for block in self.blocks]

    def _single(self) -> bool:
        """Whether some products are of float32 values unless told otherwise."""
        return any(kernels.multiplies_in_float32(block.rows) for block in self.blocks)

    def _products(self, origins: Sequence[Any]) -> tuple[Array, bool]:
        """The Gram matrix, and whether all of it was multiplied in float64: always where float32 would over- or underflow."""
        exact = not self._single()
        G = self._gram(origins, exact)
        if not exact and not (np.isfinite(G).all() and G.diagonal().max() > 1e-24 * self.d):
            G, exact = self._gram(origins, exact=True), True
        if not np.isfinite(G).all():  # or float64 values whose squares overflow
            if not all(self.finite()):
                raise NotFinite("updates must be finite")
            G = self._clipped(HUGE / float(np.sqrt(self.d)), origins)
        return G, exact

    def _clipped(self, limit: float, origins: Sequence[Any]) -> Array:
        """The Gram matrix where values beyond `limit` count as it."""
        clipped = [Block([np.clip(row, -limit, limit) for row in block.rows]) for block in self.blocks]
        return Updates(clipped)._gram([None if origin is None else np.clip(origin, -limit, limit) for origin in origins], exact=True)

    def _gram(self, origins: Sequence[Any], exact: bool) -> Array:
        total = np.zeros((self.n, self.n))
        with np.errstate(over="ignore", invalid="ignore"):
            for block, origin in zip(self.blocks, origins, strict=True):
                total += kernels.gram(block.rows, origin, exact)
        return total

    def _refined(self, G: Array, origins: Sequence[Any]) -> Array:
        norms = np.diag(G)
        left, right = np.nonzero(np.triu(sq_distances(G) < ROUGH * (norms[:, None] + norms[None, :]), 1))
        if len(left) > 2 * self.n:
            return self._gram(origins, exact=True)
        if len(left):
            G[left, right] = G[right, left] = (norms[left] + norms[right] - self._distances(left.tolist(), right.tolist())) / 2
        return G

    def _distances(self, left: Sequence[int], right: Sequence[int]) -> Array:
        """(p,) float64 squared distances between p pairs of rows."""
        total = np.zeros(len(left))
        for block in self.blocks:
            total += kernels.distances([block.rows[i] for i in left], [block.rows[j] for j in right])
        return total

    def sq_norms(self) -> Array:
        """(n,) float64 squared norms of the deltas to the origin, in one pass over the data.

        Raises:
            NotFinite: a value is not.
        """
        return self._within(self._sq_apart(self._points()))

    def sq_apart(self, i: int) -> Array:
        """(n,) float64 squared distances to row i, in one pass over the data; raises as `sq_norms` does."""
        return self._within(self._sq_apart(self._points(i)))

    def _within(self, squares: Array) -> Array:
        if not np.isfinite(squares).all() and not all(self.finite()):
            raise NotFinite("updates must be finite")
        return np.minimum(squares, HUGE**2)

    def _sq_apart(self, points: Sequence[Any]) -> Array:
        total = np.zeros(self.n)
        with np.errstate(over="ignore", invalid="ignore"):
            for block, point in zip(self.blocks, points, strict=True):
                total += kernels.distances(block.rows, [np.zeros_like(block.rows[0]) if point is None else point] * self.n)
        return total

    def order(self) -> Array:
        """(n,) indices that sort the rows by their values, lexicographically: an order that no arrival or numbering can change."""
        if self.n < 2 or self.d == 0:
            return np.arange(self.n)
        few = self.sample(KEYS)
        order = np.lexsort(few.T[::-1])
        equal = (few[order[1:]] == few[order[:-1]]).all(axis=1)
        groups = np.split(order, np.flatnonzero(~equal) + 1)  # rows that are alike so far
        return np.concatenate([sorted(group.tolist(), key=cmp_to_key(self._compare_all)) for group in groups]).astype(np.int64)

    def _compare_all(self, i: int, j: int) -> int:
        return next((sign for block in self.blocks if (sign := _compare(block.rows[i], block.rows[j]))), i - j)

    def combine(self, weights: Array) -> list[Array]:
        """Per block, origin + Σ_i weights_i (row_i - origin), in the block's dtype."""
        outs = self._empty()
        for block, out in zip(self.blocks, outs, strict=True):
            kernels.combine(block.rows, weights, block.origin, out)
        return outs

    def windows(self, window: Window, mixing: Array | None = None) -> list[Array]:
        """Per block, each coordinate's window mean over the rows (over `mixing @ rows` where given); see `kernels.windows`."""
        outs = self._empty()
        for block, out in zip(self.blocks, outs, strict=True):
            if not kernels.windows(block.rows, mixing, window, block.origin, out):
                raise NotFinite("updates must be finite")
        return outs

    def sample(self, size: int = SAMPLE, mixing: Array | None = None) -> Array:
        """(n, ≤ size) float64 values of evenly spaced coordinates."""
        stride, parts = max(1, -(-self.d // size)), []
        pick = kernels.followed(lambda pair: np.copyto(pair[0], pair[1][::stride]))
        for block in self.blocks:
            thin = np.empty((self.n, len(range(0, block.width, stride))))
            for pair in zip(thin, block.rows, strict=True):
                pick(pair)
            origin = None if block.origin is None else block.origin[::stride]
            parts.append(thin if mixing is None else kernels.mixed_block(list(thin), mixing, origin, slice(0, thin.shape[1])).copy())
        return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def shifted(self, values: Sequence[Array], steps: Iterable[Array]) -> list[Array]:
        """Per block, `values + steps`, rounding once to the block's dtype."""
        outs = self._empty()
        for value, step, out in zip(values, steps, outs, strict=True):
            kernels.round_into(value + step, out)
        return outs

    def _empty(self) -> list[Array]:
        return [np.empty(block.width, block.rows[0].dtype) for block in self.blocks]


def sq_distances(G: Array) -> Array:
    """(n, n) squared distances from a Gram matrix: never negative, zero on the diagonal."""
    norms = np.diag(G)
    D: Array = np.maximum(norms[:, None] + norms[None, :] - 2.0 * G, 0.0)
    np.fill_diagonal(D, 0.0)
    return D


def _cancels(G: Array, share: float) -> bool:
    """Whether a good part of the distances is below `share` of the norms they are computed from."""
    D, norms = sq_distances(G), np.diag(G)
    apart = D[np.triu_indices_from(D, 1)]
    return bool(np.quantile(apart, 0.2) < share * np.median(norms))


def _compare(x: Array, y: Array) -> int:
    """-1, 0 or 1: which of two vectors comes first, by their first different value."""
    different = np.flatnonzero(x != y)
    return 0 if len(different) == 0 else -1 if x[different[0]] < y[different[0]] else 1
