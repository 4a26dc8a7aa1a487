"""The exact searches behind MDA and SMEA, piece by piece, against enumeration."""

import itertools

import numpy as np
import pytest

from flwr_byzantine import rules
from flwr_byzantine.rules.subsets import _first_clique, _Search, cover, top_scatter
from tests.support import reference


def graph(n, edges):
    far = np.zeros((n, n), bool)
    for a, b in edges:
        far[a, b] = far[b, a] = True
    return far


def random_graph(rng, n, share):
    return graph(n, [pair for pair in itertools.combinations(range(n), 2) if rng.random() < share])


def covers(far, chosen):
    left = np.delete(np.delete(far, list(chosen), axis=0), list(chosen), axis=1)
    return not left.any()


def least_cover(far):
    sizes = range(len(far) + 1)
    return next(k for k in sizes if any(covers(far, chosen) for chosen in itertools.combinations(range(len(far)), k)))


HUB = graph(10, [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (2, 6), (2, 7), (3, 8), (3, 9)])  # the busiest vertex is in no least cover
GRAPHS = [
    HUB,
    graph(6, [(k, (k + 1) % 6) for k in range(6)]),
    graph(5, []),
    *(random_graph(np.random.default_rng(seed), 2 + seed % 7, [0.2, 0.5, 0.8][seed % 3]) for seed in range(60)),
]


@pytest.mark.parametrize("far", GRAPHS)
def test_a_cover_is_found_if_and_only_if_there_is_one_of_that_size(far):
    least, kept = least_cover(far), far.copy()
    for budget in range(len(far) + 1):
        found = cover(far, budget)
        assert (found is None) is (budget < least)
        if found is not None:
            assert len(set(found)) == len(found) <= budget
            assert covers(far, found)
    np.testing.assert_array_equal(far, kept)


@pytest.mark.parametrize("far", GRAPHS)
def test_the_clique_is_the_first_in_lexicographic_order(far):
    n = len(far)
    for size in range(1, n - least_cover(far) + 1):
        subsets = itertools.combinations(range(n), size)
        assert _first_clique(far, size) == list(next(rows for rows in subsets if not far[np.ix_(rows, rows)].any()))


@pytest.mark.parametrize(("n", "f"), [(3, 1), (5, 1), (5, 2), (7, 3), (8, 3)])
@pytest.mark.parametrize("make", [rules.MDA, rules.SMEA])
def test_of_the_best_subsets_it_is_the_first(make, n, f):
    """On a grid, where many subsets tie."""
    for seed in range(12):
        X = np.random.default_rng(seed).integers(0, 3, size=(n, 2)).astype(float)
        subsets = list(reference.subsets(n, n - f))
        values = [spread(make, X[list(rows)]) for rows in subsets]
        first = next(rows for rows, value in zip(subsets, values, strict=True) if value <= min(values) + 1e-9)
        assert make(f=f).aggregate(X).selected == first


def spread(make, S):
    if make is rules.MDA:
        return max(reference.sq(a, b) for a in S for b in S)
    return float(np.linalg.norm(S - S.mean(0), 2) ** 2)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_top_eigenvalue_of_the_scatter(size):
    X = np.random.default_rng(size).normal(size=(size, 3)) + 5.0
    assert top_scatter(X @ X.T) == pytest.approx(np.linalg.norm(X - X.mean(0), 2) ** 2, abs=1e-9)


def test_rows_that_are_equal_but_for_rounding_have_a_subset_too():
    """Sums of parts may then have a larger eigenvalue than the whole."""
    chained = rules.chain(rules.NNM(f=2), rules.NNM(f=2), rules.SMEA(f=2))
    assert chained(np.array([[1.0], [1.0], [-1.0], [-2.0], [-3.0]])).tolist() == [pytest.approx(-1.0, abs=2.0)]
    for seed in range(100):
        noise = 1e-9 * np.random.default_rng(seed).normal(size=(5, 5))
        assert len(_Search(noise + noise.T, 2).best_subset()) == 3
