"""`Updates`: the n updates of one round as per-layer blocks of views, and the three passes a rule may make over them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any

import numpy as np

from flwr_byzantine import kernels
from flwr_byzantine.errors import MalformedUpdate, NotFinite
from flwr_byzantine.kernels import Array, Window

SAMPLE = 1 << 11  # coordinates looked at for a row's influence in coordinate-wise rules
KEYS = 64  # coordinates looked at first when rows are compared
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
        >>> updates, _ = Updates.wrap(np.eye(3))
        >>> updates.gram().tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def __init__(self, blocks: Sequence[Block], ids: Sequence[int] | None = None) -> None:
        self.blocks = list(blocks)
        self.ids = list(range(len(self.blocks[0].rows) if self.blocks else 0)) if ids is None else list(ids)
        self.n = len(self.blocks[0].rows) if self.blocks else 0
        self.d = sum(block.width for block in self.blocks)

    @classmethod
    def wrap(cls, X: Any) -> tuple[Updates, Like]:
        """View `X`, an (n, d) array or tensor or a list of n vectors, as one block; with the way back to its kind."""
        rows, like = _as_rows(X)
        return cls([Block(rows)]), like

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
            parts = [vector[start : start + block.width].astype(np.float64) for vector in vectors]
            exact = block.rows[0].dtype if block.rows[0].dtype.kind == "f" and block.rows[0].dtype.itemsize >= 4 else np.float64
            extra = [(part if block.origin is None else part + block.origin).astype(exact) for part in parts]
            blocks.append(Block([*block.rows, *extra], block.origin))
            start += block.width
        return Updates(blocks, [*self.ids, *(-1 for _ in vectors)])

    def deltas(self, values: Sequence[Array]) -> Array:
        """(d,) float64 difference of per-block `values` to the origin."""
        parts = [
            np.subtract(value, 0 if block.origin is None else block.origin, dtype=np.float64)
            for value, block in zip(values, self.blocks, strict=True)
        ]
        return np.concatenate(parts)

    def at(self, coordinates: Array) -> Array:
        """(n, len(coordinates)) float64 deltas at these coordinates, which ascend."""
        parts, start = [], 0
        for block in self.blocks:
            inside = coordinates[(coordinates >= start) & (coordinates < start + block.width)] - start
            part = np.array([row[inside] for row in block.rows], dtype=np.float64)
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
        origins = [block.origin for block in self.blocks]
        G, exact = self._products(origins)
        if centred and self.n > 1 and _cancels(G, 1e-6 if exact else ROUGH):
            inner = int(np.argmin(np.median(sq_distances(G), axis=1)))
            origins = [block.rows[inner] for block in self.blocks]
            G, exact = self._products(origins)
        return G if exact else self._refined(G, origins)

    def _products(self, origins: Sequence[Array | None]) -> tuple[Array, bool]:
        """The Gram matrix, and whether all of it was multiplied in float64: always where float32 would over- or underflow."""
        exact = not any(kernels.single(block.rows) for block in self.blocks)
        G = self._gram(origins, exact)
        if not exact and not (np.isfinite(G).all() and G.diagonal().max() > 1e-24 * self.d):
            G, exact = self._gram(origins, exact=True), True
        if not np.isfinite(G).all():  # or float64 values whose squares overflow
            if not all(self.finite()):
                raise NotFinite("updates must be finite")
            limit = HUGE / np.sqrt(self.d)
            clipped = [Block([np.clip(row, -limit, limit) for row in block.rows], block.origin) for block in self.blocks]
            G = Updates(clipped)._gram([None if origin is None else np.clip(origin, -limit, limit) for origin in origins], True)
        return G, exact

    def _gram(self, origins: Sequence[Array | None], exact: bool) -> Array:
        total = np.zeros((self.n, self.n))
        with np.errstate(over="ignore", invalid="ignore"):
            for block, origin in zip(self.blocks, origins, strict=True):
                total += kernels.gram(block.rows, origin, exact)
        return total

    def _refined(self, G: Array, origins: Sequence[Array | None]) -> Array:
        norms = np.diag(G)
        left, right = np.nonzero(np.triu(sq_distances(G) < ROUGH * (norms[:, None] + norms[None, :]), 1))
        if len(left) > 2 * self.n:
            return self._gram(origins, exact=True)
        if len(left):
            pairs = list(zip(left.tolist(), right.tolist(), strict=True))
            D = np.zeros(len(pairs))
            for block in self.blocks:
                D += kernels.distances([block.rows[i] for i, _ in pairs], [block.rows[j] for _, j in pairs])
            G[left, right] = G[right, left] = (norms[left] + norms[right] - D) / 2
        return G

    def sq_norms(self) -> Array:
        """(n,) float64 squared norms of the deltas to the origin, in one pass over the data."""
        return self._sq_apart([np.zeros_like(block.rows[0]) if block.origin is None else block.origin for block in self.blocks])

    def sq_apart(self, i: int) -> Array:
        """(n,) float64 squared distances to row i, in one pass over the data."""
        return self._sq_apart([block.rows[i] for block in self.blocks])

    def _sq_apart(self, points: Sequence[Array]) -> Array:
        total = np.zeros(self.n)
        with np.errstate(over="ignore"):
            for block, point in zip(self.blocks, points, strict=True):
                total += kernels.distances(block.rows, [point] * self.n)
        return np.minimum(total, HUGE**2)

    def order(self) -> Array:
        """(n,) indices that sort the rows by their values, lexicographically: an order that no arrival or numbering can change."""
        if self.n < 2 or self.d == 0:
            return np.arange(self.n)
        few = self.sample(KEYS)

        def compare(i: int, j: int) -> int:
            return _compare(few[i], few[j]) or self._compare_all(i, j)

        return np.array(sorted(range(self.n), key=cmp_to_key(compare)))

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
        stride = max(1, -(-self.d // size))
        parts = []
        for block in self.blocks:
            rows = [row[::stride] for row in block.rows]
            origin = None if block.origin is None else block.origin[::stride]
            parts.append(kernels.mixed(rows, mixing, origin, slice(0, len(rows[0]))).astype(np.float64))
        return np.concatenate(parts, axis=1)

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


@dataclass(frozen=True)
class Like:
    """The kind of array the caller gave: turns a NumPy vector back into it."""

    template: Any = None  # a torch tensor, or None for NumPy

    def restore(self, value: Array) -> Any:
        """`value` as the caller's kind, dtype and device."""
        if self.template is None:
            return value
        torch = sys.modules["torch"]
        return torch.from_numpy(value).to(dtype=self.template.dtype, device=self.template.device)


def _as_rows(X: Any) -> tuple[list[Array], Like]:
    items = _items(X)
    like = Like(items[0] if _is_tensor(items[0]) else None)
    rows = [_as_numpy(item) for item in items]
    first = rows[0]
    for i, row in enumerate(rows):
        if row.dtype.kind not in "fiu":
            raise MalformedUpdate(f"updates must be real numbers (float or integer), got dtype {row.dtype} in row {i}")
        if row.ndim != 1 or len(row) != len(first):
            raise MalformedUpdate(f"updates must be vectors of one length, got shape {first.shape} in row 0 and {row.shape} in row {i}")
    if any(row.dtype != first.dtype for row in rows):
        common = np.result_type(*rows)
        rows = [row.astype(common) for row in rows]
    return rows, like


def _items(X: Any) -> list[Any]:
    if isinstance(X, np.ndarray) or _is_tensor(X):
        if X.ndim != 2:
            raise MalformedUpdate(f"updates must be an (n, d) array, got shape {tuple(X.shape)}; one update is X[None, :]")
        items = list(X)
    else:
        items = [item if _is_tensor(item) else np.asarray(item) for item in X]
    if not items:
        raise MalformedUpdate("expected at least one update, got none")
    return items


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")  # a tensor can only exist where torch was imported
    return torch is not None and isinstance(value, torch.Tensor)


def _as_numpy(item: Any) -> Array:
    if not _is_tensor(item):
        return np.asarray(item)
    item = item.detach().cpu()
    if str(item.dtype) == "torch.bfloat16":  # NumPy has no bfloat16; float32 holds it exactly
        item = item.float()
    return np.asarray(item.numpy())
