"""The search for the worst κ: where it starts, how it climbs, and that it ends where gradient ascent does."""

import numpy as np
import pytest
from scipy.optimize import minimize

from flwr_byzantine import rules, theory
from flwr_byzantine.theory import empirical


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("n", "f", "d"), [(3, 1, 1), (5, 1, 2), (4, 0, 3), (11, 3, 1)])
def test_the_first_starts_are_two_honest_points_with_the_byzantine_ones_at_one_in_between_mirrored_or_beyond(n, f, d):
    starts = list(empirical._configurations(n, f, d, 8, rng()))
    assert len(starts) == 10 * (n - f - 1) + 8
    seen = set()
    for X in starts[:-8]:
        honest, bad = X[f:, 0], X[:f, 0]
        (point,) = set(honest[honest != 0].tolist())
        seen.add((int((honest != 0).sum()), point, *(set((bad / point).tolist()))))
        assert not X[:, 1:].any()
    places = (-1.0, 0.0, 0.5, 1.0, 2.0) if f else ()
    assert seen >= {(size, sign, place) for size in range(1, n - f) for sign in (-1.0, 1.0) for place in places}


def test_of_many_rows_a_few_sizes_are_tried_those_of_the_proofs_among_them():
    sizes = empirical._sizes(1000, 100)
    assert len(sizes) < 20
    assert {1, 100, 101, 399, 401, 499, 800, 899} <= set(sizes)
    assert all(0 < size < 900 for size in sizes)


def test_random_starts_are_tied_on_a_lattice_or_not_at_all():
    *_, on_lattice, free = empirical._configurations(9, 2, 2, 2, rng())
    assert set(on_lattice[2:].ravel().tolist()) <= {-1.0, 0.0, 1.0}
    assert len(np.unique(free[2:], axis=0)) == 7


def kind(X, Y):
    """What changed X to Y."""
    moved = np.flatnonzero((X != Y).any(axis=1))
    if len(moved) == len(X) and np.allclose(Y - X, (Y - X)[0]):
        return "all rows alike"
    if len(moved) == 1 and (Y[moved[0]] == X).all(axis=1).any():
        return "to another's place"
    if len(moved) == 1 and any(np.allclose(Y[moved[0]] + X[moved[0]], 2 * other) for other in X):
        return "mirrored"
    return "a point" if len(moved) and np.allclose(X[moved], X[moved[0]]) and np.allclose(Y[moved], Y[moved[0]]) else "some rows"


def test_a_change_moves_some_rows_or_all_at_one_point_or_keeps_ties():
    X, draws = np.array([[0.0, 0.0]] * 3 + [[1.0, 0.0]] * 2 + [[0.0, 2.0]]), rng()
    seen = {kind(X, empirical._changed(X, 1.0, draws)) for _ in range(200)}
    assert seen == {"some rows", "a point", "all rows alike", "to another's place", "mirrored"}


@pytest.mark.parametrize("rule", [rules.Median(f=1), rules.TrimmedMean(f=1)], ids=str)
def test_the_climb_never_falls_and_says_where_it_is(rule):
    X, honest, values = rng(1).normal(size=(5, 2)), np.arange(1, 5), []
    for steps in (0, 5, 20, 80):
        value, there = empirical._climb(rule, X, honest, steps, rng(2))
        assert value == theory.kappa_ratio(rule, there, honest)
        values.append(value)
    assert values == sorted(values)
    assert values[-1] > 1.2 * values[0]


def ascend(rule, X, honest, steps):
    ratio = lambda flat: theory.kappa_ratio(rule, flat.reshape(X.shape), honest)  # noqa: E731
    options = {"maxiter": steps, "maxfun": steps * X.size}
    end = minimize(lambda flat: -np.log(ratio(flat) + 1e-12), X.ravel(), method="L-BFGS-B", options=options)
    return max(ratio(X.ravel()), ratio(end.x))


def test_the_ascent():
    for seed in range(4):
        X, rule = rng(seed).normal(size=(5, 2)), rules.TrimmedMean(f=1)
        assert empirical._ascend(rule, X, np.arange(4), 4) == pytest.approx(ascend(rule, X, np.arange(4), 4), rel=1e-9)


def test_rows_that_differ_by_rounding_only_say_nothing():
    X = np.array([[1.0], [1.0 + 1e-15], [1.0], [9.0]])
    assert theory.kappa_ratio(rules.Median(f=1), X, np.arange(3)) == 0
    assert theory.kappa_ratio(rules.Median(f=1), 1e-9 * np.array([[1.0], [2.0], [4.0], [9.0]]), np.arange(3)) > 0.1


def test_no_seed_is_seed_0_and_other_seeds_search_elsewhere():
    values = [theory.empirical_kappa(rules.Krum(f=1), 6, d=2, starts=1, steps=3, **seed) for seed in ({}, {"seed": 0}, {"seed": 1})]
    assert values[0] == values[1] != values[2]


def test_the_tables_rows():
    (krum, cge, mean) = theory.kappa_table([rules.Krum(f=1), rules.CGE(f=0), rules.Mean()], 6, d=1, starts=1, steps=1)
    assert (krum.rule, krum.declared, krum.lower) == ("Krum(f=1)", rules.Krum(f=1).kappa(6), 0.25)
    assert krum.found == theory.empirical_kappa(rules.Krum(f=1), 6, d=1, starts=1, steps=1)
    assert (cge.declared, mean.declared, mean.lower) == (None, 0.0, 0.0)
    text = str(theory.kappa_table([rules.CGE(f=1)], 4, d=1, starts=1, steps=1)).splitlines()
    assert text[0] == "rule        declared  lower bound  worst found"
    assert text[1].startswith("CGE(f=1)  none known        0.500  ")
