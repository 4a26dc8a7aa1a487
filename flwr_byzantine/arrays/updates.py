"""`Updates`: the n updates of one round as per-layer blocks of views, and the passes over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.arrivals import Arrivals
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.geometry import Geometry, sign, within
from flwr_byzantine.arrays.parallel import AfterPart
from flwr_byzantine.arrays.typing import Array, Reduce
from flwr_byzantine.arrays.window import Window
from flwr_byzantine.errors import NotFinite

SAMPLE = 1 << 10  # coordinates looked at for a row's influence in coordinate-wise rules: 1 to 2 points of error in a share
ANCHOR = -1  # in place of a node's id: a row of the rule's own
EMPTY, NONE = np.zeros((0, 0)), np.zeros(0)
FAR = 1e4  # where a block counts more times than this, its squares could underflow in float32


class Updates(Geometry):
    """n updates of d coordinates, held as views on the caller's memory: no n × d array is ever copied.

    Args:
        blocks: one `Block` per layer, each with the same number of rows.
        ids: who sent each row, for rules with a history; their positions by default.
        after_part: called after each part of a pass over the rows: `Spill.after_part` where they lie in its file.
        arrivals: where the inner products of the same rows, by their ids, were worked out while they came.

    Example:
        >>> import numpy as np
        >>> updates = Updates([Block(list(np.eye(3)))])
        >>> updates.gram().tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    arrivals: Arrivals | None = None
    passes: ClassVar[Any] = kernels

    def __init__(
        self,
        blocks: Sequence[Block],
        ids: Sequence[int] | None = None,
        after_part: AfterPart | None = None,
        arrivals: Arrivals | None = None,
    ) -> None:
        self._blocks, self.after_part, self.arrivals = list(blocks), after_part, arrivals
        self.n = len(self._blocks[0].rows) if self._blocks else 0
        self.d = sum(block.width for block in self._blocks)
        self.ids = list(range(self.n)) if ids is None else list(ids)

    @property
    def blocks(self) -> list[Block]:
        """The layers of the model, each with the n updates' values."""
        return self._blocks

    def numbers(self, values: Array) -> Array:
        """The values as arrays of the kind that these updates hand out."""
        return values

    def of_rows(self, rows: Sequence[Array]) -> Updates:
        """Other rows, with which a rule is to compute as with these."""
        return Updates([Block(list(rows))])

    def finite(self) -> list[bool]:
        """For each row, whether all of its values are finite."""
        return [all(kernels.finite(block.rows[i]) for block in self.blocks) for i in range(self.n)]

    def take(self, indices: Sequence[int]) -> Updates:
        """The same blocks with these rows only."""
        blocks = [replace(block, rows=[block.rows[i] for i in indices]) for block in self.blocks]
        return type(self)(blocks, [self.ids[i] for i in indices], self.after_part, self.arrivals)

    def append(self, vectors: Sequence[Array]) -> Updates:
        """The same rows and below them `vectors`, given as (d,) deltas to the origin: a rule's anchors."""
        blocks, start = [], 0
        for block in self.blocks:
            parts = [np.asarray(vector[start : start + block.width], np.float64) for vector in vectors]
            exact = block.rows[0].dtype if block.rows[0].dtype.kind == "f" and block.rows[0].dtype.itemsize >= 4 else np.float64
            extra = [within(part if block.origin is None else part + block.origin, exact) for part in parts]
            blocks.append(replace(block, rows=[*block.rows, *extra]))
            start += block.width
        return type(self)(blocks, [*self.ids, *(ANCHOR for _ in vectors)], self.after_part, self.arrivals)

    def origins(self) -> Array:
        """(d,) float64 values that deltas are measured from."""
        return np.concatenate([np.zeros(block.width) if block.origin is None else block.origin.astype(np.float64) for block in self.blocks])

    def deltas(self, values: Sequence[Array]) -> Array:
        """(d,) float64 difference of per-block `values` to the origin."""
        parts = [
            value.astype(np.float64) if block.origin is None else np.subtract(value, block.origin, dtype=np.float64)
            for value, block in zip(values, self.blocks, strict=True)
        ]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def length(self, values: Sequence[Array]) -> float:
        """The norm of a result's difference to the origin."""
        return float(np.linalg.norm(self.deltas(values)))

    def at(self, coordinates: Array) -> Array:
        """(n, len(coordinates)) float64 deltas at these coordinates, which ascend, each times its block's scale."""
        parts, start = [], 0
        for block in self.blocks:
            inside = coordinates[(coordinates >= start) & (coordinates < start + block.width)] - start
            part = np.empty((self.n, len(inside)))
            self._copy_columns(block, inside, part)
            part = part if block.origin is None else part - block.origin[inside]
            with np.errstate(over="ignore"):
                parts.append(part if block.scale == 1.0 else within(block.scale * part, np.float64))
            start += block.width
        return np.concatenate(parts, axis=1)

    def _copy_columns(self, block: Block, columns: Array | slice, out: Array) -> None:
        """The rows' values at these columns to (n, c) float64 `out`."""
        for target, row in zip(out, block.rows, strict=True):
            target[...] = row[columns]
            if self.after_part is not None:
                self.after_part()

    def _centres(self, row: int | None = None) -> list[Any]:
        return [block.origin if row is None else block.rows[row] for block in self.blocks]

    def _multiplies_in_float32(self) -> bool:
        far = any(block.scale > FAR for block in self.blocks)
        return not far and any(self.passes.multiplies_in_float32(block.rows) for block in self.blocks)

    def _scaled_gram(self, factors: Array, centre: int | None) -> Array:
        total = np.zeros((self.n, self.n))
        for block in self.blocks:
            total += block.scale**2 * self.passes.scaled_gram(block.rows, block.origin, factors, centre, self.after_part)
        return total

    def _peaks(self) -> Array:
        found = [block.scale * self.passes.peaks(block.rows, block.origin, self.after_part) for block in self.blocks]
        return np.asarray(np.max(found, axis=0))

    def _gram(self, centres: Sequence[Any], exact: bool) -> Array:
        total = np.zeros((self.n, self.n))
        with np.errstate(over="ignore", invalid="ignore"):
            for block, centre, known in zip(self.blocks, centres, self._ahead(centres), strict=True):
                fits = not exact or not self.passes.multiplies_in_float32(block.rows)
                total += block.scale**2 * self._products_of(block, centre, exact, known if fits else EMPTY)
        return total

    def _products_of(self, block: Block, centre: Any, exact: bool, known: Array) -> Array:
        """One block's Gram matrix, of which that of the first rows is known."""
        m = len(known)
        if m == self.n:
            return known
        G: Array = self.passes.gram(block.rows, centre, exact, self.after_part, m)
        G[:m, :m] = known
        return G

    def _ahead(self, centres: Sequence[Any]) -> Sequence[Array]:
        """Per block, what is known of the Gram matrix already: that of all rows but the anchors, or nothing."""
        own = all(centre is block.origin for block, centre in zip(self.blocks, centres, strict=True))
        found = None if self.arrivals is None or not own else self.arrivals.grams(self._senders())
        return [EMPTY] * len(self.blocks) if found is None else found

    def _distances(self, left: Sequence[int], right: Sequence[int]) -> Array:
        total = np.zeros(len(left))
        for block in self.blocks:
            apart = [k for k, (i, j) in enumerate(zip(left, right, strict=True)) if block.rows[i] is not block.rows[j]]
            if apart:
                pairs = [block.rows[left[k]] for k in apart], [block.rows[right[k]] for k in apart]
                total[apart] += block.scale**2 * self.passes.distances(*pairs, self.after_part)
        return total

    def _sq_distances_to(self, centres: Sequence[Any]) -> Array:
        total = np.zeros(self.n)
        with np.errstate(over="ignore", invalid="ignore"):
            for block, centre, known in zip(self.blocks, centres, self._measured(centres), strict=True):
                rest = block.rows[len(known) :]
                same = [np.zeros_like(block.rows[0]) if centre is None else centre] * len(rest)
                found = self.passes.distances(rest, same, self.after_part) if rest else NONE
                total += block.scale**2 * np.concatenate([known, found])
        return total

    def _measured(self, centres: Sequence[Any]) -> Sequence[Array]:
        """Per block, the squared distances to its centre that are known already: those of all rows but the anchors, or none."""
        found = None if self.arrivals is None else self.arrivals.squares(self._senders(), centres)
        return [NONE] * len(self.blocks) if found is None else found

    def _senders(self) -> list[int]:
        return [node for node in self.ids if node != ANCHOR]

    def _compare(self, i: int, j: int) -> int:
        return next((place for block in self.blocks if (place := sign(block.rows[i], block.rows[j]))), self.ids[i] - self.ids[j])

    def combine(self, weights: Array) -> list[Array]:
        """Per block, origin + Σ_i weights_i (row_i - origin), in the block's dtype."""
        outs = self._empty()
        for block, out in zip(self.blocks, outs, strict=True):
            self.passes.combine(block.rows, weights, block.origin, out, self.after_part)
        return outs

    def windows(self, window: Window, mixing: Array | None = None) -> list[Array]:
        """Per block, each coordinate's window mean over the rows (over `mixing @ rows` where given); see `kernels.windows`."""
        outs = self._empty()
        for block, out in zip(self.blocks, outs, strict=True):
            if not self.passes.windows(block.rows, mixing, window, block.origin, out, self.after_part):
                raise NotFinite("updates must be finite")
        return outs

    def columns(self, reduce: Reduce, mixing: Array | None = None) -> list[Array]:
        """Per block, the origin plus what `reduce` makes of the columns of (n, c) float64 deltas (of `mixing @ deltas` where given)."""
        outs = self._empty()
        for block, out in zip(self.blocks, outs, strict=True):
            self.passes.columns(block.rows, mixing, reduce, block.origin, out, self.after_part)
        return outs

    def sample(self, size: int = SAMPLE, mixing: Array | None = None) -> Array:
        """(n, ≤ size) float64 values of evenly spaced coordinates."""
        stride, parts = max(1, -(-self.d // size)), []
        for block in self.blocks:
            thin = np.empty((self.n, len(range(0, block.width, stride))))
            self._copy_columns(block, slice(None, None, stride), thin)
            origin = None if block.origin is None else block.origin[::stride]
            parts.append(thin if mixing is None else self.passes.mixed_block(list(thin), mixing, origin, slice(0, thin.shape[1])).copy())
        return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def shifted(self, values: Sequence[Array], steps: Iterable[Array]) -> list[Array]:
        """Per block, `values + steps`, rounding once to the block's dtype."""
        outs = self._empty()
        for value, step, out in zip(values, steps, outs, strict=True):
            kernels.round_into(value + step, out)
        return outs

    def _empty(self) -> list[Array]:
        room = None if self.arrivals is None else self.arrivals.room()
        return [np.empty(block.width, block.rows[0].dtype) for block in self.blocks] if room is None else room
