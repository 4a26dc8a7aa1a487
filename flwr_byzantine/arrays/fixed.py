"""The passes of `kernels` over the d coordinates with the same bits on every machine.

Inner products are exact within a tile of 1024 columns: each row's part of a tile is rounded to 42 bits of the row's largest value
there, and cut in two halves of 21; products of such integers, 1024 of them added, are integers below 2^53. So a BLAS may add them in
any order, fused or not. Tiles are added in their order, whoever worked on them. Everything else is elementwise, row after row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.ordered import ordered, total
from flwr_byzantine.arrays.parallel import AfterPart, cache_sized_parts, run, slices
from flwr_byzantine.arrays.typing import DEPTH, Array, Reduce, Rows

BITS = 21  # of a half: products have 42, and sums of 1024 of them 52
TILES = 16  # of a part, at least
PARTS = 64  # of a pass, at most: each holds its own sums
FAINT = -600  # rows whose largest value is below 2^-600 in a tile have squares below any float64 there

peaks, windows, mixed_block = kernels.peaks, kernels.windows, kernels.mixed_block  # exact, or of `Ordered` weights


def multiplies_in_float32(rows: Rows) -> bool:
    """Whether `gram` multiplies in float32: never."""
    return False


def gram(rows: Rows, origin: Array | None, exact: bool = False, after_part: AfterPart | None = None, first: int = 0) -> Array:
    """(n, n) inner products of `rows - origin`, near float64's accuracy whatever the arguments after the origin say."""
    return _gram(lambda part: kernels.centred_block(rows, origin, part), len(rows), len(rows[0]), after_part)


def scaled_gram(rows: Rows, origin: Array | None, factors: Array, centre: int | None, after_part: AfterPart | None = None) -> Array:
    """(n, n) inner products of `factors * (rows - origin)`, less row `centre` of these."""

    def load(part: slice) -> Array:
        return kernels.scaled_block(rows, origin, np.asarray(factors), centre, part)

    return _gram(load, len(rows), len(rows[0]), after_part)


def _gram(load: Callable[[slice], Array], n: int, width: int, after_part: AfterPart | None) -> Array:
    def partial(part: slice) -> Array:
        found = np.zeros((n, n))
        for tile in _tiles(part):
            found += tile_gram(load(tile))
        return found

    return _added(run(partial, _parts(width), after_part), (n, n))


def tile_gram(tile: Array) -> Array:
    """(n, n) inner products of the rows of (n, ≤ 1024) float64 values, to 42 bits of each row's largest one; NaN or infinite as they are.

    Example:
        >>> tile_gram(np.array([[3.0, 4.0], [1.0, 0.0]])).tolist()
        [[25.0, 3.0], [3.0, 1.0]]
    """
    peak = np.abs(tile).max(axis=1, initial=0.0)
    exponents, odd = np.frexp(peak)[1], ~np.isfinite(peak)
    if odd.any():
        tile = np.where(odd[:, None], 0.0, tile)
    whole = np.ldexp(1.0, np.where(exponents < FAINT, -2000, BITS - exponents))[:, None] * tile
    high = np.rint(whole)
    low = np.rint((whole - high) * 2.0**BITS)
    cross = high @ low.T
    sums = high @ high.T + (cross + cross.T) * 2.0**-BITS + (low @ low.T) * 2.0 ** (-2 * BITS)
    found: Array = np.ldexp(sums, exponents[:, None] + exponents - 2 * BITS)
    found[odd] = found[:, odd] = np.nan
    return found


def distances(left: Rows, right: Rows, after_part: AfterPart | None = None) -> Array:
    """(p,) squared Euclidean distances, in float64, of each row of `left` to its partner in `right`."""

    def partial(part: slice) -> Array:
        found = np.zeros(len(left))
        for tile in _tiles(part):
            found += total(np.square(kernels.gather(left, tile) - kernels.gather(right, tile)), 1)
        return found

    return _added(run(partial, _parts(len(left[0])), after_part), (len(left),))


def combine(rows: Rows, weights: Array, origin: Array | None, out: Array, after_part: AfterPart | None = None) -> None:
    """Write Σ_i weights_i rows_i + (1 - Σ weights) origin into `out`, rounding once to its dtype; rows of weight zero are not read."""
    weights = np.asarray(weights)
    used, rest = np.flatnonzero(weights).tolist(), 1.0 - float(total(weights))
    if len(used) == 1 and weights[used[0]] == 1.0:
        out[...] = rows[used[0]]
        return

    def partial(part: slice) -> None:
        value = np.zeros(part.stop - part.start) if origin is None or abs(rest) <= 1e-12 else rest * origin[part].astype(np.float64)
        for i in used:
            value += weights[i] * rows[i][part].astype(np.float64)
        kernels.round_into(value, out[part])

    run(partial, cache_sized_parts(4, len(out)), after_part)


def columns(
    rows: Rows, mixing: Array | None, reduce: Reduce, origin: Array | None, out: Array, after_part: AfterPart | None = None
) -> None:
    """As of `kernels`; `reduce` gets ordered arrays."""
    kernels.columns(rows, mixing, lambda block: np.asarray(reduce(ordered(block))), origin, out, after_part)


def _parts(width: int) -> list[slice]:
    """Columns of each part: whole tiles, as many as the width alone says."""
    return slices(width, DEPTH * max(TILES, -(-width // (PARTS * DEPTH))))


def _tiles(part: slice) -> list[slice]:
    return [slice(part.start + tile.start, part.start + tile.stop) for tile in slices(part.stop - part.start, DEPTH)]


def _added(parts: Iterable[Array], shape: tuple[int, ...]) -> Array:
    found = np.zeros(shape)
    for part in parts:
        found += part
    return found
