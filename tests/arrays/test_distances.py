"""Distances are right where float32 products are not, order changes no bit, and no dtype's limit is passed."""

import numpy as np
import pytest

from flwr_byzantine import rules
from flwr_byzantine.arrays import compiled
from flwr_byzantine.arrays.adjacent import joined
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.updates import Updates
from tests.support.kernels import WIDE, needs_numba, rows


def distances(X):
    exact = np.array(X, np.float64)
    return np.array([[((x - y) ** 2).sum() for y in exact] for x in exact])


def relative_error(X, origin=None):
    """Largest error of a squared distance between different rows, relative to it."""
    measured, expected = sq_distances(Updates([Block(X, origin)]).gram(centred=True)), distances(X)
    off = ~np.eye(len(X), dtype=bool)
    return np.abs(measured[off] / expected[off] - 1).max()


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


def test_influence_shares_the_ranks_of_equal_values():
    X = np.array([[0.0], [0.0], [0.0], [0.0], [1.0], [2.0], [3.0]])  # ranks 2 to 4 are averaged: two of the four zeros, and the one
    np.testing.assert_allclose(rules.TrimmedMean(f=2).aggregate(X).influence, [1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 3, 0, 0])
    np.testing.assert_allclose(rules.TrimmedMean(f=2).aggregate(np.ones((7, 3))).influence, 1 / 7)
    np.testing.assert_allclose(
        rules.MeaMed(f=2).aggregate(np.array([[0.0], [1.0], [2.0], [3.0], [90.0], [91.0], [92.0]])).influence[:5], 0.2
    )
