"""Products of low rank against the products themselves, formed."""

import tracemalloc

import numpy as np
import pytest

from flwr_byzantine.arrays.factors import Factors, best, deltas_gram, inner, sq_distance, stacked

P, Q = 23, 17
RANKS = (1, 2, 4, 8, 16)


def matrices(seed=0, dtype=np.float32, p=P, q=Q, ranks=RANKS):
    rng = np.random.default_rng(seed)
    return [Factors(rng.normal(size=(p, r)).astype(dtype), rng.normal(size=(r, q)).astype(dtype), 16 / r) for r in ranks]


def formed(rows):
    return np.array([row.scale * (row.b.astype(np.float64) @ row.a.astype(np.float64)).ravel() for row in rows])


def rotated(row, rng, spread=1.0):
    """The same matrix in another basis: B R and R⁻¹ A."""
    R = rng.normal(size=(row.rank, row.rank)) * spread
    return Factors(row.b.astype(np.float64) @ R, np.linalg.solve(R, row.a.astype(np.float64)), row.scale)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_inner_products_are_those_of_the_products(dtype):
    rows = matrices(dtype=dtype)
    assert inner(rows) == pytest.approx(formed(rows) @ formed(rows).T, rel=1e-12)


def test_inner_products_do_not_depend_on_the_basis():
    rows, rng = matrices(dtype=np.float64), np.random.default_rng(1)
    assert inner([rotated(row, rng, 10.0 ** (4 * k - 8)) for k, row in enumerate(rows)]) == pytest.approx(inner(rows), rel=1e-9)


def test_wide_float32_factors_are_multiplied_in_float32_to_seven_digits():
    rows = matrices(p=700, q=600, ranks=(4, 8, 16))
    rough, exact = deltas_gram(rows, None, exact=False), deltas_gram(rows, None)
    assert not np.array_equal(rough, exact)
    assert np.abs(rough - exact).max() < 1e-6 * np.diag(exact).max()


@pytest.mark.parametrize("step", [1e-1, 1e-4, 1e-7])
def test_deltas_near_the_broadcast_adapter_keep_their_digits(step):
    base = matrices(ranks=(4,), dtype=np.float64)[0]
    rows = [
        Factors(base.b + step * row.b[:, :4], base.a + step * row.a[:4], base.scale) for row in matrices(2, np.float64, ranks=(4, 8, 16))
    ]
    deltas = np.array([(row.scale * ((row.b - base.b) @ row.a + base.b @ (row.a - base.a))).ravel() for row in rows])
    assert deltas_gram(rows, base) == pytest.approx(deltas @ deltas.T, rel=1e-14 / step + 1e-9)


def test_distances_of_nearly_equal_products_keep_their_digits():
    one = matrices(ranks=(4,), dtype=np.float64)[0]
    other = Factors(np.hstack([one.b, 1e-6 * np.ones((P, 1))]), np.vstack([one.a, np.ones((1, Q))]), one.scale)
    assert sq_distance(one, other) == pytest.approx(one.scale**2 * 1e-12 * P * Q, rel=1e-6)


@pytest.mark.parametrize("centre", [0, None])
def test_a_row_may_be_the_centre_itself(centre):
    rows = matrices(ranks=(3, 3))
    G = deltas_gram(rows, None if centre is None else rows[0])
    own = formed(rows) - (0 if centre is None else formed(rows)[0])
    assert pytest.approx(own @ own.T, rel=1e-9, abs=1e-9) == G


@pytest.mark.parametrize("rank", [1, 5, 17, 30])
def test_the_best_of_a_rank_is_that_of_the_whole_svd(rank):
    whole = stacked(matrices())
    u, sizes, v = np.linalg.svd(formed([whole])[0].reshape(P, Q), full_matrices=False)
    found, error = best(whole, rank)
    assert found.rank == rank
    assert found.product() == pytest.approx((u[:, :rank] * sizes[:rank]) @ v[:rank], abs=1e-9)
    assert error == pytest.approx(np.linalg.norm(sizes[rank:]) / np.linalg.norm(sizes), abs=1e-12)


def test_the_first_columns_of_the_best_are_the_best_of_a_lower_rank():
    found, _ = best(stacked(matrices()), 8)
    lower, _ = best(stacked(matrices()), 3)
    assert Factors(found.b[:, :3], found.a[:3]).product() == pytest.approx(lower.product(), abs=1e-9)


def test_unused_directions_are_taken_from_spare_ones():
    spare = np.random.default_rng(3).normal(size=(6, Q))
    found, error = best(matrices(ranks=(2,))[0], 6, spare)
    assert error < 1e-12
    assert found.a @ found.a.T == pytest.approx(np.eye(6), abs=1e-12)
    assert np.abs(found.b[:, 2:]).max() < 1e-6


def test_stacking_is_exact_and_adds_ranks():
    rows = matrices()
    assert stacked(rows).rank == sum(RANKS)
    assert stacked(rows).product().ravel() == pytest.approx(formed(rows).sum(axis=0), rel=1e-12)


def test_factors_of_any_tilt_are_stacked_alike():
    """An attacker's b of 1e30 and a of 1e-30 neither overflow nor drown the others."""
    rows = matrices(dtype=np.float64, ranks=(2, 2))
    tilted = [Factors(1e30 * rows[0].b, rows[0].a / 1e30, rows[0].scale), rows[1]]
    assert best(stacked(tilted), 4)[0].product() == pytest.approx(formed(rows).sum(axis=0).reshape(P, Q), rel=1e-9, abs=1e-9)


def test_memory_beside_the_adapters_stays_below_theirs():
    rows = matrices(p=2048, q=2048, ranks=(16,) * 40)
    sizes = sum(row.b.nbytes + row.a.nbytes for row in rows)
    tracemalloc.start()
    deltas_gram(rows, None, exact=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < sizes
