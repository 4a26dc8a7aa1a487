"""The array types that the whole package speaks of, and the tile sizes that compiled and plain kernels share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Rows = Sequence[Array]  # n one-dimensional arrays of one length and dtype
Reduce = Callable[[Array], Array]  # from (n, c) float64 deltas to what becomes of each column, (c,)

CHUNK_VALUES = 1 << 18  # values of one chunk of columns: 2 MiB of float64 a thread, about the L2 cache
DEPTH = 1024  # columns of one Gram tile: 4 + 4 rows of it stay in the L1 cache in float32, in the L2 cache in float64
TILE_BYTES = 256  # of one row in a sorting tile: the 128 rows that most federations stay below fit the L1 cache
LANES = {np.dtype(np.float32): TILE_BYTES // 4, np.dtype(np.float64): TILE_BYTES // 8}  # columns of a sorting tile
