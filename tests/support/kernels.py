"""Rows for the tests of kernels, and whether there is a compiler."""

import numpy as np
import pytest

from flwr_byzantine.arrays import compiled, kernels

needs_numba = pytest.mark.skipif(not compiled.AVAILABLE, reason="Numba is not installed")
WIDE = kernels.SINGLE_WIDTH + 1000  # wide enough for float32 products, and no multiple of a tile


def rows(n, d, seed=0, dtype=np.float32, spread=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    return [(shift + spread * rng.normal(size=d)).astype(dtype) for _ in range(n)]
