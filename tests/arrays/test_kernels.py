"""Kernels: compiled and NumPy forms agree; what Numba keeps."""

import importlib
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from flwr_byzantine import rules
from flwr_byzantine.arrays import compiled, kernels, parallel
from flwr_byzantine.arrays.adjacent import joined, separate
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.moments import departures, moments
from flwr_byzantine.arrays.window import Window
from flwr_byzantine.experiments.bench.measure import isolated
from tests.support.kernels import WIDE, needs_numba, rows

WINDOWS = {
    "median": lambda n: Window((n - 1) // 2, n // 2 + 1),
    "trimmed": lambda n: Window(n // 4, n - n // 4),
    "around the median": lambda n: Window((n - 1) // 2, n // 2 + 1, n - n // 4),
    "around the trimmed mean": lambda n: Window(n // 4, n - n // 4, n - n // 4),
}


@needs_numba
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 11, 32, 100, 300])
@pytest.mark.parametrize("name", WINDOWS)
def test_compiled_windows_give_the_bits_of_the_numpy_path(name, n, dtype, monkeypatch):
    X = rows(n, 1003, dtype=dtype)
    X[0][:5] = X[-1][:5]  # ties
    X[0][5], X[0][6] = np.finfo(dtype).max, -np.finfo(dtype).max
    fast, slow = np.empty(1003, dtype), np.empty(1003, dtype)
    assert kernels.windows(X, None, WINDOWS[name](n), None, fast)
    monkeypatch.setattr(compiled, "AVAILABLE", False)
    assert kernels.windows(X, None, WINDOWS[name](n), None, slow)
    np.testing.assert_array_equal(fast, slow)


@pytest.mark.parametrize("fast", [pytest.param(True, marks=needs_numba), False])
def test_windows_tell_of_values_that_are_not_finite(fast, monkeypatch):
    monkeypatch.setattr(compiled, "AVAILABLE", fast)
    for bad in (np.nan, np.inf, -np.inf):
        X = rows(5, 700)
        X[3][650] = bad
        assert not kernels.windows(X, None, WINDOWS["median"](5), None, np.empty(700, np.float32))


@needs_numba
@pytest.mark.parametrize("n", [1, 4, 13])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("with_origin", [True, False])
def test_compiled_gram_and_combination_agree_with_numpy(n, dtype, with_origin, monkeypatch):
    X, origin = rows(n, 5000, dtype=dtype), rows(1, 5000, seed=9, dtype=dtype)[0] if with_origin else None
    weights, out = np.random.default_rng(1).dirichlet(np.ones(n)) * 0.7, np.empty((2, 5000), dtype)
    found = []
    for i, available in enumerate((True, False)):
        monkeypatch.setattr(compiled, "AVAILABLE", available)
        kernels.combine(X, weights, origin, out[i])
        found.append((kernels.gram(X, origin), kernels.distances(X, X[1:] + X[:1])))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-12)
    np.testing.assert_allclose(out[0], out[1], rtol=1e-6, atol=1e-7)
    delta = np.array(X, np.float64) - (0 if origin is None else origin)
    np.testing.assert_allclose(found[0][0], delta @ delta.T, rtol=1e-10, atol=1e-9)


@needs_numba
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("with_origin", [True, False])
@pytest.mark.parametrize("n", [2, 5, 16, 17, 33])
def test_products_with_the_last_row_alone_have_the_bits_of_all_products(n, with_origin, dtype):
    X = rows(n, WIDE + 7, dtype=dtype)
    origin = rows(1, WIDE + 7, seed=1, dtype=dtype)[0] if with_origin else None
    for exact in (False, True):
        whole, alone = (kernels.gram(X, origin, exact, first=first) for first in (0, n - 1))
        assert np.array_equal(alone[-1], whole[-1])
        assert np.array_equal(alone[:, -1], whole[:, -1])


@pytest.mark.parametrize("fast", [pytest.param(True, marks=needs_numba), False])
@pytest.mark.parametrize("width", [70, WIDE + 7])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4", np.float64])
def test_rows_that_are_one_array_have_the_bits_of_equal_rows(dtype, width, exact, fast, monkeypatch):
    monkeypatch.setattr(compiled, "AVAILABLE", fast)
    X, origin = rows(6, width, dtype=dtype), rows(1, width, seed=1, dtype=dtype)[0]
    X = [X[2], *X, X[2], X[5]]
    found = kernels.gram(X, origin, exact)
    np.testing.assert_array_equal(found, kernels.gram([row.copy() for row in X], origin, exact))
    np.testing.assert_array_equal(found, kernels.gram(np.array(X), origin, exact))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounding_clips_what_is_beyond_the_range_and_keeps_nan(dtype):
    top, out = np.finfo(dtype).max, np.empty(6, dtype)
    kernels.round_into(np.array([1.5, -np.inf, np.inf, np.nan, 1e306, -1e306]), out)
    most = float(top) if dtype != np.float64 else 1e306
    np.testing.assert_array_equal(out, [1.5, -top, top, np.nan, most, -most])


@needs_numba
@pytest.mark.parametrize(("n", "d"), [(1, 5), (3, 2), (10, 1), (10, 79_510), (17, 300_001)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_moments_have_the_bits_of_numpys(n, d, dtype):
    X = np.array(rows(n, d, dtype=dtype, spread=3.0, shift=1e3))
    exact = X.astype(np.float64)
    for found, expected in zip(moments(X), (exact.mean(axis=0), exact.std(axis=0)), strict=True):
        np.testing.assert_array_equal(found, expected)


@needs_numba
@pytest.mark.parametrize(("n", "d"), [(1, 5), (3, 2), (10, 79_510), (17, 300_001)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_departures_agree_with_numpy(n, d, dtype):
    X, point = np.array(rows(n, d, dtype=dtype, shift=1e2)), rows(1, d, seed=1, dtype=dtype, shift=99.0)[0]
    mean = X.mean(axis=0, dtype=np.float64)
    expected = ((X - mean) ** 2).sum() / n, ((point - mean) ** 2).sum()
    np.testing.assert_allclose(departures(X, point), expected, rtol=1e-9, atol=1e-9)


@needs_numba
def test_passes_over_few_values_have_the_bits_of_passes_on_all_cores(monkeypatch):
    X, out = rows(5, 100_000), []
    for little in (0, 1 << 40):
        monkeypatch.setattr(parallel, "LITTLE", little)
        combined = np.empty(100_000, np.float32)
        kernels.combine(X, np.full(5, 0.2), None, combined)
        out.append([kernels.gram(X, None), kernels.distances(X, X[::-1]), combined, *moments(np.array(X)), departures(np.array(X), X[0])])
    for one, other in zip(*out, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [1e30, -3e38, np.inf, np.nan])
@pytest.mark.parametrize("size", [3, kernels.FEW + 1])
def test_values_are_finite_although_their_squares_are_not(value, size):
    row = np.full(size, 2.0, np.float32)
    row[size // 2] = value
    assert kernels.finite(row) == bool(np.isfinite(value))


def test_arrays_side_by_side_are_read_as_one():
    whole = np.array(rows(3, 10))
    blocks = [Block(list(whole[:, :4])), Block(list(whole[:, 4:7])), Block(list(whole[:, 7:]))]
    (block,) = joined(blocks)
    np.testing.assert_array_equal(block.rows, whole)
    assert all(np.shares_memory(row, whole) for row in block.rows)
    assert [part.tolist() for part in separate([whole[0]], blocks)] == [
        whole[0, :4].tolist(),
        whole[0, 4:7].tolist(),
        whole[0, 7:].tolist(),
    ]
    apart = [Block([row.copy() for row in blocks[0].rows]), *blocks[1:]]
    others = [blocks[::-1], blocks[::2], apart, [*blocks[:2], Block(blocks[2].rows, origin=np.zeros(3))], blocks[:1]]
    assert [len(joined(some)) for some in others] == [len(some) for some in others]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_aggregates_although_its_parent_had_threads():
    X = np.array(rows(5, 200_000))
    expected = rules.Median(f=1)(X)
    found = isolated(lambda: rules.Median(f=1)(X), timeout=60)
    np.testing.assert_array_equal(found, expected)


# --- what Numba keeps -----------------------------------------------------------------------------------------


@needs_numba
def test_what_one_process_compiled_the_next_one_finds(tmp_path):
    script = "import numpy as np; from flwr_byzantine import rules; X = np.ones((7, 20000), np.float32); "
    script += "[rule(X) for rule in (rules.Krum(f=2), rules.Median(f=2), rules.Mean())]"
    kept = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)})
        kept.append(sorted(path.name for path in tmp_path.rglob("*.nbc")))
    assert kept[0] == kept[1] != []


@needs_numba
def test_kernels_are_compiled_where_nothing_can_be_kept():
    space: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x", space)  # of no file, so that Numba finds no place beside it
    assert importlib.import_module("flwr_byzantine.arrays.loops").kernel()(space["twice"])(3) == 6
