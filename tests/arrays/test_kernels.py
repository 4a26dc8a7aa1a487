"""Kernels: compiled and NumPy forms agree; distances are right where float32 products are not; order changes no bit."""

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
from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.moments import departures, moments
from flwr_byzantine.arrays.updates import Block, Updates
from flwr_byzantine.arrays.window import Window
from flwr_byzantine.experiments.bench.measure import isolated

needs_numba = pytest.mark.skipif(not compiled.AVAILABLE, reason="Numba is not installed")
WIDE = kernels.SINGLE_WIDTH + 1000  # wide enough for float32 products, and no multiple of a tile


def rows(n, d, seed=0, dtype=np.float32, spread=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    return [(shift + spread * rng.normal(size=d)).astype(dtype) for _ in range(n)]


def distances(X):
    exact = np.array(X, np.float64)
    return np.array([[((x - y) ** 2).sum() for y in exact] for x in exact])


def relative_error(X, origin=None):
    """Largest error of a squared distance between different rows, relative to it."""
    measured, expected = sq_distances(Updates([Block(X, origin)]).gram(centred=True)), distances(X)
    off = ~np.eye(len(X), dtype=bool)
    return np.abs(measured[off] / expected[off] - 1).max()


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


def test_a_row_that_several_send_is_at_distance_0_from_itself():
    shared, other = rows(2, WIDE)
    updates = Updates(joined([Block([other[:9], *[shared[:9]] * 3]), Block([other[9:], *[shared[9:]] * 3])]))
    assert sq_distances(updates.gram())[1:, 1:].tolist() == np.zeros((3, 3)).tolist()
    assert updates.order().tolist() in ([0, 1, 2, 3], [1, 2, 3, 0])


@pytest.mark.parametrize("ratio", [0.0, 1.0, 30.0, 1e3, 1e5])
def test_float32_distances_are_right_to_1e_6_far_from_the_origin(ratio):
    """‖x_i‖ / ‖x_i - x_j‖ up to 1e5, wide and narrow rows."""
    for width in (WIDE, 500):
        X = rows(6, width, shift=ratio)
        assert relative_error(X) < 1e-6
        assert relative_error(X, rows(1, width, seed=5)[0]) < 1e-6


def test_distances_within_a_second_cluster_are_right_too():
    """Colluders close to each other and far from everybody: their small distances are computed again."""
    X = rows(9, WIDE)
    target = 50 * rows(1, WIDE, seed=7)[0]
    X += [target + row for row in rows(3, WIDE, seed=8, spread=1e-2)]
    assert relative_error(X) < 1e-6
    crowd = [target + row for row in rows(12, WIDE, seed=9, spread=1e-2)]  # more close pairs than are worth it one by one
    assert relative_error(X[:9] + crowd) < 1e-6


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e17, 1e30])
def test_float32_products_neither_overflow_nor_vanish(scale):
    X = [np.float32(scale) * row for row in rows(5, WIDE)]
    assert relative_error(X) < 1e-6


def test_a_row_at_the_float32_maximum_leaves_the_others_alone():
    X = rows(7, WIDE)
    expected = rules.Krum(f=2).aggregate(X)
    out = rules.Krum(f=3).aggregate([*X, np.full(WIDE, np.finfo(np.float32).max, np.float32), *rows(1, WIDE, seed=4)])
    assert np.isfinite(out.scores).all()
    assert out.selected is not None
    assert out.selected[0] != 7
    assert expected.selected is not None


def symmetric_rules():
    for cls in rules.available():
        rule = cls(f=2) if "f" in cls.__dataclass_fields__ else cls()
        for whole in (
            [rules.chain(rule, rules.TrimmedMean(f=2)), rules.chain(rule, rules.GeometricMedian(f=2))]
            if isinstance(rule, rules.PreAggregation)
            else [rule]
        ):
            if all(stage.symmetric for stage in whole.stages()):
                yield whole
    yield rules.chain(rules.ARC(f=2), rules.NNM(f=2), rules.GeometricMedian(f=2))


@pytest.mark.parametrize("fast", [pytest.param(True, marks=needs_numba), False])
@pytest.mark.parametrize("rule", list(symmetric_rules()), ids=str)
def test_the_order_of_the_rows_changes_no_bit(rule, fast, monkeypatch):
    monkeypatch.setattr(compiled, "AVAILABLE", fast)
    for dtype in (np.float32, np.float64):
        X = np.array(rows(13, 3001, dtype=dtype))
        X[:, ::200] = 0.0  # the first coordinates that are compared are equal
        keywords = {"trusted": X.mean(0)} if any("trusted" in stage.anchors for stage in rule.stages()) else {}
        out = rule.aggregate(X, **keywords)
        for seed in range(3):
            order = np.random.default_rng(seed).permutation(13)
            again = rule.aggregate(X[order], **keywords)
            np.testing.assert_array_equal(again.value, out.value)
            for mine, other in ((out.weights, again.weights), (out.scores, again.scores)):
                if mine is not None:
                    np.testing.assert_array_equal(other, mine[order])
            if out.selected is not None:
                assert {int(order[i]) for i in again.selected} == set(out.selected)


def test_ties_go_to_the_first_row():
    X = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    assert rules.Krum(f=1).aggregate(X).selected == (1,)
    assert rules.Krum(f=1).aggregate(X[::-1]).selected == (1,)  # value 3: equal scores, the first of them again
    assert rules.CGE(f=1).aggregate(np.array([[1.0], [-1.0], [1.0]])).selected == (0, 1)


@pytest.mark.parametrize(
    "rule", [rules.Krum(f=0), rules.Median(), rules.TrimmedMean(f=0), rules.GeometricMedian(), rules.MeaMed(f=0)], ids=str
)
def test_one_row_empty_rows_and_equal_rows(rule):
    n = rule.min_n()
    assert rule(np.zeros((max(n, 3), 0))).shape == (0,)
    row = rows(1, 50)[0]
    np.testing.assert_array_equal(rule(np.tile(row, (max(n, 4), 1))), row)
    if n == 1:
        np.testing.assert_array_equal(rule(row[None]), row)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64])
@pytest.mark.parametrize(
    "rule", [rules.Krum(f=1), rules.GeometricMedian(f=1), rules.Median(f=1), rules.chain(rules.NNM(f=1), rules.TrimmedMean(f=1))], ids=str
)
def test_dtype_limits_neither_overflow_nor_become_nan(rule, dtype):
    top = (np.finfo if np.dtype(dtype).kind == "f" else np.iinfo)(dtype).max
    out = rule(np.full((7, 5), top, dtype))
    assert out.dtype == dtype
    np.testing.assert_allclose(out.astype(np.float64), float(top), rtol=1e-3)


def test_strided_and_big_endian_rows_take_the_numpy_path():
    X = np.array(rows(7, 90)).T.copy().T  # Fortran order: rows are strided
    expected = rules.Krum(f=1)(np.ascontiguousarray(X))
    np.testing.assert_array_equal(rules.Krum(f=1)(X), expected)
    np.testing.assert_allclose(rules.Median()([row.astype(">f4") for row in X]), np.median(X, axis=0), rtol=1e-6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_aggregates_although_its_parent_had_threads():
    X = np.array(rows(5, 200_000))
    expected = rules.Median(f=1)(X)
    found = isolated(lambda: rules.Median(f=1)(X), timeout=60)
    np.testing.assert_array_equal(found, expected)


def test_influence_shares_the_ranks_of_equal_values():
    X = np.array([[0.0], [0.0], [0.0], [0.0], [1.0], [2.0], [3.0]])  # ranks 2 to 4 are averaged: two of the four zeros, and the one
    np.testing.assert_allclose(rules.TrimmedMean(f=2).aggregate(X).influence, [1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 3, 0, 0])
    np.testing.assert_allclose(rules.TrimmedMean(f=2).aggregate(np.ones((7, 3))).influence, 1 / 7)
    np.testing.assert_allclose(
        rules.MeaMed(f=2).aggregate(np.array([[0.0], [1.0], [2.0], [3.0], [90.0], [91.0], [92.0]])).influence[:5], 0.2
    )


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
