"""`reproducible=True`: the same bits with Numba and without, on any processor, with any BLAS and any number of threads."""

import numpy as np
import pytest

from flwr_byzantine import rules
from flwr_byzantine.arrays import fixed, kernels
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.eigen import eigh
from flwr_byzantine.arrays.ordered import norm, ordered, plain, product, total
from flwr_byzantine.arrays.reproducible import Reproducible
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.errors import NotReproducible
from tests.support.rules import RULES, trusted
from tests.support.same_bits import ENVIRONMENTS, REFUSED, REPRODUCIBLE, data, found_in


@pytest.mark.slow
def test_every_rule_has_the_same_bits_in_all_environments(tmp_path):
    first, *others = (found_in(environment, True, tmp_path) for environment in ENVIRONMENTS.values())
    for name, found in zip(list(ENVIRONMENTS)[1:], others, strict=True):
        assert {rule for rule in first if found[rule] != first[rule]} == set(), name


@pytest.mark.slow
def test_without_it_most_mixing_rules_have_other_bits_without_numba(tmp_path):
    plain_, without = (found_in(ENVIRONMENTS[name], False, tmp_path) for name in ("as it is", "another BLAS kernel"))
    assert sum(plain_[rule] != without[rule] for rule in plain_) >= 20


@pytest.mark.parametrize("rule", REPRODUCIBLE, ids=str)
def test_the_aggregate_is_the_fast_one_to_rounding(rule):
    X = np.random.default_rng(3).normal(size=(13, 1500)).astype(np.float32)
    with_, without = (rule.aggregate(X, reproducible=how, **trusted(rule, X)).value for how in (True, False))
    assert type(with_) is np.ndarray
    np.testing.assert_allclose(with_, without, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", [rule for rule in RULES if type(rule).__name__ in REFUSED], ids=str)
def test_what_takes_logarithms_is_refused(rule):
    with pytest.raises(NotReproducible, match=f"reproducible=True: {type(rule).__name__} "):
        rule.aggregate(data(13, 40, np.float64), reproducible=True)


class Exponential(rules.Krum):
    """A rule of a user's that weighs by exponentials."""

    def mix(self, view):
        weights = np.exp(-view.norms)
        return rules.base.Combination((weights / weights.sum())[None, :])


def test_a_rule_that_takes_what_is_not_fixed_raises_whoever_wrote_it():
    X = data(9, 40, np.float64)
    assert np.isfinite(Exponential(f=1)(X)).all()
    with pytest.raises(NotReproducible, match=r"numpy\.exp depend on the machine"):
        Exponential(f=1)(X, reproducible=True)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inner_products_are_as_accurate_as_the_fast_ones(dtype, scale):
    X = (np.random.default_rng(0).standard_t(2, size=(9, 5003)) * scale).astype(dtype)
    exact = np.array([[float(np.sum(one.astype(np.longdouble) * other)) for other in X] for one in X])
    lengths = np.sqrt(np.diag(exact))
    found = fixed.gram(list(X), None)
    assert np.abs((found - exact) / lengths / lengths[:, None]).max() < 1e-12
    np.testing.assert_array_equal(found, found.T)
    order = np.random.default_rng(1).permutation(9)
    np.testing.assert_array_equal(fixed.gram(list(X[order]), None), found[np.ix_(order, order)])


def test_products_in_a_tile_are_exact_in_any_order():
    tile = np.random.default_rng(0).normal(size=(7, 1024))
    shuffled = tile[:, np.random.default_rng(1).permutation(1024)]
    np.testing.assert_array_equal(fixed.tile_gram(tile), fixed.tile_gram(shuffled))
    assert (tile @ tile.T != shuffled @ shuffled.T).any()  # BLAS has an order


def test_hostile_values_are_noticed_and_spoil_no_other_row():
    X = np.ones((4, 3000))
    X[0, 5], X[1, 2999], X[2, 7] = np.nan, np.inf, 1e300
    with np.errstate(all="ignore"):
        G = fixed.gram(list(X), None)
    assert not np.isfinite(G[:3].diagonal()).any()
    assert G[3, 3] == 3000.0


def test_sums_products_and_norms_are_those_of_numpy_to_rounding():
    A, B = np.random.default_rng(0).normal(size=(2, 37, 37))
    for axis in (None, 0, 1, (0, 1)):
        np.testing.assert_allclose(total(A, axis), A.sum(axis), rtol=1e-12)
    np.testing.assert_allclose(product(A, B), A @ B, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(product(A, B[0]), A @ B[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(product(A[0], B), A[0] @ B, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(norm(A, axis=1), np.linalg.norm(A, axis=1), rtol=1e-14)
    assert total(np.zeros((0, 3)), 0).tolist() == [0.0, 0.0, 0.0]
    assert total(np.array([True, True])) == 2


@pytest.mark.parametrize("n", [1, 2, 3, 8, 31])
def test_eigenvectors_are_those_of_lapack(n):
    S = np.random.default_rng(n).normal(size=(n, n))
    S = S @ S.T
    values, vectors = eigh(S)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(S), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(S @ vectors, vectors * values, atol=1e-12 * n * np.abs(S).max())
    assert eigh(np.zeros((n, n)))[0].tolist() == [0.0] * n


def test_what_is_made_of_ordered_arrays_is_ordered_and_the_rest_is_refused():
    G = ordered(np.random.default_rng(0).normal(size=(5, 5)))
    for made in (G @ G, G.sum(axis=0), np.median(G, axis=1), np.where(G > 0, G, 0.0), np.concatenate([G, G]), G.std(axis=1), abs(G)[1:]):
        assert type(made) is type(G)
    for wrong in (np.exp, np.log, np.linalg.svd, np.linalg.inv, np.cov, lambda A: np.einsum("ij,kj->ik", A, A), lambda A: A**0.3, np.prod):
        with pytest.raises(NotReproducible, match=r"the bits of numpy\.\S+ depend on the machine"):
            wrong(G)
    into = np.zeros(5)
    into += G[0]
    assert type(into) is np.ndarray
    assert plain(into) is into


def test_an_order_of_its_own_would_be_seen():
    """The hashes tell sums of another order apart: what the tests above compare could differ."""
    X = data(13, 5003, np.float64)
    in_parts = [[np.sum([row[part].sum() for part in parts]) for row in X] for parts in ([slice(None)], kernels.slices(5003, 1000))]
    assert in_parts[0] != in_parts[1]
    fast, slow = (kind([Block(list(X))]).gram() for kind in (Updates, Reproducible))
    assert (plain(slow) != fast).any()
