"""Updates that lie on a device as torch tensors: the passes over their d coordinates run there, in chunks of columns.

Loaded only where such a tensor is given. All that is n × n, and every rule, is the same NumPy code as for arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flwr_byzantine.arrays import conversion
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.parallel import cache_sized_parts
from flwr_byzantine.arrays.typing import Array, Reduce
from flwr_byzantine.arrays.updates import SAMPLE, Updates
from flwr_byzantine.arrays.window import Window
from flwr_byzantine.errors import NotFinite

BUDGET = 1 << 30  # bytes of extra device memory that a pass may take, about; a large GPU would wait for work with less
TILE = 1024  # columns multiplied at a time; where a device has float32 only, the products of each tile are summed in float64 on the host
WITHOUT_FLOAT64 = frozenset({"mps"})  # kinds of device whose widest floats are float32


class TensorUpdates(Updates):
    """n updates as d-dimensional tensors on one device, with no origin.

    Extra device memory is a chunk of columns (about 1 GB), whatever d. Results agree with the CPU's up to rounding.

    Args:
        tensors: n one-dimensional tensors of one length.
        ids: who sent each row; their positions by default.

    Raises:
        MalformedUpdate: tensors that differ in length or are not real numbers.

    Example:
        >>> TensorUpdates(list(torch.eye(2))).gram().tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, tensors: Sequence[Tensor], ids: Sequence[int] | None = None) -> None:
        conversion.check_rows(tensors, lambda row: not row.dtype.is_complex and row.dtype != torch.bool)
        self.tensors = [tensor.detach() for tensor in tensors]
        self.n, self.d, self.device, self.after_part = len(tensors), len(tensors[0]), tensors[0].device, None
        self.ids = list(range(self.n)) if ids is None else list(ids)
        self.wide = torch.float32 if self.device.type in WITHOUT_FLOAT64 else torch.float64
        self.common = tensors[0].dtype  # all rows' dtype, or one that holds all of theirs
        for tensor in self.tensors:
            self.common = torch.promote_types(self.common, tensor.dtype)

    @property
    def blocks(self) -> list[Block]:
        """The rows as NumPy arrays, copied when they are asked for."""
        return [Block([conversion.as_numpy(tensor) for tensor in self.tensors])]

    def _parts(self, rows: int) -> list[slice]:
        """Column slices such that chunks of so many rows, with what is made of them, stay within the budget."""
        width = max(1, BUDGET // (32 * TILE * max(rows, 1))) * TILE
        return [slice(start, start + width) for start in range(0, self.d, width)]

    def _gather(self, part: slice | Tensor, dtype: torch.dtype) -> Tensor:
        """(n, c) columns `part` of all rows."""
        return torch.stack([tensor[part] for tensor in self.tensors]).to(dtype)

    def _differences(self, part: slice, point: Tensor | None) -> Tensor:
        """(n, tiles, TILE) columns `part` of the rows minus `point`, the last tile filled up with zeros."""
        block = self._gather(part, self.wide)
        if point is not None:
            block -= point[part].to(self.wide)
        return _tiled(block)

    def finite(self) -> list[bool]:
        """For each row, whether all of its values are finite."""
        finite = torch.ones(self.n, dtype=torch.bool, device=self.device)
        for part in self._parts(self.n):
            finite &= torch.isfinite(self._gather(part, self.common)).all(dim=1)
        return list(map(bool, finite.tolist()))

    def take(self, indices: Sequence[int]) -> TensorUpdates:
        """These rows only."""
        return TensorUpdates([self.tensors[i] for i in indices], [self.ids[i] for i in indices])

    def append(self, vectors: Sequence[Array]) -> TensorUpdates:
        """The same rows and below them `vectors`, (d,) NumPy arrays: a rule's anchors."""
        dtype = self.common if self.common in (torch.float32, torch.float64) else self.wide
        extra = [torch.from_numpy(vector).to(dtype).to(self.device) for vector in vectors]
        return TensorUpdates([*self.tensors, *extra], [*self.ids, *(-1 for _ in vectors)])

    def origins(self) -> Array:
        """(d,) zeros: there is no origin."""
        return np.zeros(self.d)

    def deltas(self, values: Sequence[Any]) -> Array:
        """(d,) float64 NumPy copy of a result."""
        return _to_host(values[0])

    def at(self, coordinates: Array) -> Array:
        """(n, len(coordinates)) float64 values at these coordinates."""
        return _to_host(self._gather(torch.from_numpy(coordinates).to(self.device), self.common))

    def sample(self, size: int = SAMPLE, mixing: Array | None = None) -> Array:
        """(n, ≤ size) float64 values of evenly spaced coordinates."""
        stride = max(1, -(-self.d // size))
        values = _to_host(self._gather(slice(None, None, stride), self.common))
        return values if mixing is None else np.asarray(mixing @ values)

    def _centres(self, row: int | None = None) -> list[Any]:
        return [None if row is None else self.tensors[row]]

    def _multiplies_in_float32(self) -> bool:
        return self.wide != torch.float64

    def _gram(self, centres: Sequence[Any], exact: bool) -> Array:
        if exact and self._multiplies_in_float32():  # hostile values on a device without float64: the host has it
            return super()._gram([None if point is None else conversion.as_numpy(point) for point in centres], exact)
        total = self._zeros(self.n, self.n)
        for part in self._parts(self.n):
            tiles = self._differences(part, centres[0]).transpose(0, 1)
            total += _tile_sums(torch.bmm(tiles, tiles.transpose(1, 2)))
        return _to_host(total)

    def _scaled_gram(self, factors: Array, centre: int | None) -> Array:
        if self._multiplies_in_float32():
            return super()._scaled_gram(factors, centre)
        total, scale = self._zeros(self.n, self.n), self._to_device(factors)[:, None]
        for part in self._parts(self.n):
            block = scale * self._gather(part, self.wide)
            tiles = _tiled(block if centre is None else block - block[centre]).transpose(0, 1)
            total += _tile_sums(torch.bmm(tiles, tiles.transpose(1, 2)))
        return _to_host(total)

    def _peaks(self) -> Array:
        peaks = self._zeros(self.n)
        for part in self._parts(self.n):
            peaks = torch.maximum(peaks, self._gather(part, self.wide).abs().amax(dim=1).to(peaks.device).to(peaks.dtype))
        return _to_host(peaks)

    def _distances(self, left: Sequence[int], right: Sequence[int]) -> Array:
        total = self._zeros(len(left))
        for part in self._parts(max(self.n, 2 * len(left))):
            values = self._differences(part, None)
            total += _tile_sums(((values[left] - values[right]) ** 2).sum(dim=2).T)
        return _to_host(total)

    def _sq_distances_to(self, centres: Sequence[Any]) -> Array:
        total = self._zeros(self.n)
        for part in self._parts(self.n):
            total += _tile_sums((self._differences(part, centres[0]) ** 2).sum(dim=2).T)
        return _to_host(total)

    def _compare(self, i: int, j: int) -> int:
        for part in self._parts(2):
            x, y = self.tensors[i][part], self.tensors[j][part]
            if len(different := (x != y).nonzero()):
                return -1 if bool(x[different[0]] < y[different[0]]) else 1
        return self.ids[i] - self.ids[j]

    def combine(self, weights: Array) -> list[Any]:
        """(d,) Σ_i weights_i row_i, in the rows' dtype; rows of weight zero are not read."""
        used = np.flatnonzero(weights).tolist()
        if len(used) == 1 and weights[used[0]] == 1.0:
            return [self.tensors[used[0]].to(self.tensors[0].dtype, copy=True)]
        out = self._empty_result()
        chosen = self.take(used) if used else self
        factors = self._to_device(weights[used] if used else np.zeros(self.n))
        for part in self._parts(self.n):
            out[part] = _rounded(factors @ chosen._gather(part, self.wide), out.dtype)
        return [out]

    def windows(self, window: Window, mixing: Array | None = None) -> list[Any]:
        """(d,) each coordinate's window mean over the rows (over `mixing @ rows` where given); see `Window`."""
        out, n = self._empty_result(), self.n if mixing is None else len(mixing)
        matrix, finite = None if mixing is None else self._to_device(mixing), torch.ones((), dtype=torch.bool, device=self.device)
        for part in self._parts(n if matrix is None else n + self.n):
            values = self._gather(part, self.common) if matrix is None else matrix @ self._gather(part, self.wide)
            values = torch.sort(values, dim=0).values
            finite &= (torch.isfinite(values[0]) & torch.isfinite(values[-1])).all()
            out[part] = _rounded(self._window_mean(values, window), out.dtype)
        if not finite:
            raise NotFinite("updates must be finite")
        return [out]

    def columns(self, reduce: Reduce, mixing: Array | None = None) -> list[Any]:
        """(d,) what `reduce` makes of the columns of (n, c) float64 NumPy values (of `mixing @ values` where given), on the host."""
        out = self._empty_result()
        for part in self._parts(self.n):
            values = _to_host(self._gather(part, self.common))
            blocks = (values[:, few] for few in cache_sized_parts(*values.shape))
            found = [reduce(block if mixing is None else mixing @ block) for block in blocks]
            out[part] = _rounded(self._to_device(np.concatenate(found)), out.dtype)
        return [out]

    def _window_mean(self, values: Tensor, window: Window) -> Tensor:
        """(c,) means of the windows of (n, c) ascending values; as `Window.mean`, on the device."""
        total = torch.zeros_like(values[0], dtype=self.wide)
        for rank in range(window.low, window.high):
            total += values[rank]
        centre = total / (window.high - window.low)
        if not window.length:
            return centre
        first = (centre - values[: len(values) - window.length] > values[window.length :] - centre).sum(dim=0)
        total.zero_()
        for rank, row in enumerate(values):
            total += torch.where((first <= rank) & (rank < first + window.length), row, 0)
        return total / window.length

    def shifted(self, values: Sequence[Any], steps: Iterable[Array]) -> list[Any]:
        """`values + steps`, rounded to their dtype; the steps are NumPy arrays."""
        return [_rounded(value + self._to_device(step), self.tensors[0].dtype) for value, step in zip(values, steps, strict=True)]

    def _to_device(self, values: Array) -> Tensor:
        """A NumPy array on the device, in the widest floats it has."""
        return torch.from_numpy(values).to(self.wide).to(self.device)

    def _zeros(self, *shape: int) -> Tensor:
        """Sums to begin with, in float64: on the device where it has that, so that nobody waits for it between two parts."""
        return torch.zeros(shape, dtype=torch.float64, device=self.device if self.wide == torch.float64 else "cpu")

    def _empty_result(self) -> Tensor:
        return torch.empty(self.d, dtype=self.tensors[0].dtype, device=self.device)


def _tiled(block: Tensor) -> Tensor:
    """(n, tiles, TILE) columns of an (n, c) block, the last tile filled up with zeros."""
    return torch.nn.functional.pad(block, (0, -block.shape[1] % TILE)).reshape(len(block), -1, TILE)


def _to_host(tensor: Tensor) -> Array:
    """A float64 NumPy copy."""
    return np.asarray(tensor.cpu().to(torch.float64).numpy())


def _tile_sums(values: Tensor) -> Tensor:
    """Sum over the tiles, the first axis, in float64: on the device where it has that."""
    return (values if values.dtype == torch.float64 else values.cpu().to(torch.float64)).sum(dim=0)


def _rounded(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Wide `value` in `dtype`: clipped to its range, integers to the nearest."""
    limits = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    top = float(limits.max)
    if top > limits.max:  # the largest 64-bit integers have no float64
        top = float(np.nextafter(top, 0.0))
    return (value if dtype.is_floating_point else value.round()).clamp(float(limits.min), top).to(dtype)
