"""Trees of aggregators: no placement and no attack exceeds the bound, some reach it, and the probability is that of all placements."""

import itertools

import numpy as np
import pytest

from flwr_byzantine import rules
from flwr_byzantine.errors import ByzantineError
from flwr_byzantine.theory import AggregatorTree, failure_probability

EACH = [
    rules.TrimmedMean(f=1),
    rules.Median(f=1),
    rules.Krum(f=1),
    rules.GeometricMedian(f=1),
    rules.chain(rules.NNM(f=1), rules.TrimmedMean(f=1)),
]
PAIRS = list(itertools.product(EACH, EACH))


def answer(tree, X):
    """What the root makes of what the leaves make of (leaves, m, d) rows."""
    return tree.root.aggregate(np.stack([tree.leaf.aggregate(rows).value for rows in X])).value


def ratio(tree, X, bad):
    honest = X[~bad]
    return ((answer(tree, X) - honest.mean(axis=0)) ** 2).sum() / ((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean()


def placed(tree, rng, everywhere):
    """Which nodes are bad: f2 leaves and f1 of each other; or the tree's f of them, at random."""
    bad = np.zeros((tree.leaves, tree.m), bool)
    if everywhere:
        bad[: tree.root.f] = True
        bad[:, : tree.leaf.f] = True
        return rng.permutation(bad)
    bad.flat[rng.choice(tree.n, tree.f, replace=False)] = True
    return bad


def attacked(X, bad, rng):
    """Far away, just outside, within the honest ones, or where another honest row is."""
    X, honest = X.copy(), X[~bad]
    mean, spread, count = honest.mean(axis=0), honest.std(axis=0), int(bad.sum())
    X[bad] = [
        mean + 1e3 * rng.normal(size=X.shape[-1]),
        mean + rng.uniform(0.2, 3) * spread,
        rng.normal(size=(count, X.shape[-1])),
        honest[rng.integers(len(honest), size=count)],
        honest[rng.integers(len(honest))],
    ][rng.integers(5)]
    return X


def honest_rows(tree, rng):
    """Spread within leaves, between leaves, or at two points."""
    shape = (tree.leaves, tree.m, 2)
    return [
        rng.normal(size=shape),
        rng.normal(size=shape) * 0.1 + rng.normal(size=(tree.leaves, 1, 2)),
        rng.choice([0.0, 1.0], size=(*shape[:2], 1), p=[0.75, 0.25]) * np.ones(2) + 1e-9 * rng.normal(size=shape),
    ][rng.integers(3)]


@pytest.mark.parametrize(("leaf", "root"), PAIRS, ids=str)
def test_no_configuration_exceeds_the_bound(leaf, root):
    rng = np.random.default_rng(0)
    for _ in range(12):
        tree = AggregatorTree(leaf, int(rng.integers(5, 8)), root, int(rng.integers(5, 8)))
        bad = placed(tree, rng, everywhere=bool(rng.integers(2)))
        assert ratio(tree, attacked(honest_rows(tree, rng), bad, rng), bad) <= tree.kappa(int(bad.sum())) + 1e-6


@pytest.mark.parametrize(("rule", "values"), [(rules.Median(f=1), 3.0), (rules.TrimmedMean(f=1), 3.0)], ids=str)
def test_the_bound_is_reached(rule, values):
    """One leaf is bad, and one node of each other: the honest rows are two and two, and all that answers is one of the twos."""
    tree, bad = AggregatorTree(rule, 3, rule, 3), np.zeros((3, 3), bool)
    bad[0] = bad[1:, 0] = True
    X = np.array([[5, 5, 5], [5, 0, 1], [5, 0, 0]], float)[:, :, None]
    assert ratio(tree, X, bad) == pytest.approx(tree.kappa(5)) == values


def test_what_it_withstands_wherever_they_sit_is_one_less_than_what_breaks_it():
    tree = AggregatorTree(rules.Median(f=1), 3, rules.Median(f=1), 3)
    assert (tree.n, tree.f, tree.failure(3), tree.failure(4) > 0) == (9, 3, 0.0, True)
    X = np.zeros((3, 3, 1))
    X[:2, :2] = 1e6
    assert answer(tree, X)[0] == 1e6
    X[1, 1] = 0
    assert answer(tree, X)[0] == 0


@pytest.mark.parametrize("bad", range(13))
def test_the_probability_is_that_of_all_placements(bad):
    tree = AggregatorTree(rules.TrimmedMean(f=1), 3, rules.TrimmedMean(f=1), 4)
    placements = [np.bincount(np.array(chosen, int) // 3, minlength=4) for chosen in itertools.combinations(range(12), bad)]
    assert tree.failure(bad) == pytest.approx(np.mean([(counts > 1).sum() > 1 for counts in placements]), abs=1e-12)


def test_of_a_single_kind_of_leaf_it_is_what_sampling_says():
    alone = AggregatorTree(rules.TrimmedMean(f=3), 10, rules.Mean(), 1)
    assert [alone.failure(bad) for bad in (3, 4)] == [0.0, 1.0]
    many = AggregatorTree(rules.TrimmedMean(f=3), 10, rules.Mean(), 10)
    single = failure_probability(100, 10, 10, 3)
    assert single <= many.failure(10) <= 10 * single


def test_plain_averages_lose_nothing_and_bounds_that_are_not_known_stay_so():
    assert AggregatorTree(rules.Mean(), 4, rules.Mean(), 5).kappa() == pytest.approx(0.0)
    assert AggregatorTree(rules.CGE(f=1), 4, rules.Mean(), 5).kappa() is None


def test_sizes_are_checked():
    with pytest.raises(ByzantineError, match="m must be"):
        AggregatorTree(rules.Krum(f=1), 4, rules.Mean(), 5)
    with pytest.raises(ByzantineError, match="num_malicious must be"):
        AggregatorTree(rules.Median(f=1), 3, rules.Median(f=1), 3).kappa(6)
