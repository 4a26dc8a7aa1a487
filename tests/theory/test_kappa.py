"""Declared κ against a search: no start that ties, repeats, mirrors or climbs goes above it, and where it is exact some rows reach it."""

from itertools import product

import numpy as np
import pytest

from flwr_byzantine import rules, theory
from tests.support import ties

BOUNDED = {
    "trimmed mean": lambda f: rules.TrimmedMean(f=f),
    "median": lambda f: rules.Median(f=f),
    "geometric median": lambda f: rules.GeometricMedian(f=f),
    "meamed": lambda f: rules.MeaMed(f=f),
    "meamed of n - 2f": lambda f: rules.MeaMed(f=f, keep="n-2f"),
    "phocas": lambda f: rules.Phocas(f=f),
    "krum": lambda f: rules.Krum(f=f),
    "krum, one neighbour more": lambda f: rules.Krum(f=f, neighbors="n-f-1"),
    "multi-krum": lambda f: rules.MultiKrum(f=f),
    "multi-krum, one neighbour more": lambda f: rules.MultiKrum(f=f, neighbors="n-f-1"),
    "multi-krum, m = 2": lambda f: rules.MultiKrum(f=f, m=2),
    "multi-krum, iterated": lambda f: rules.MultiKrum(f=f, iterated=True),
    "bulyan": lambda f: rules.Bulyan(f=f),
    "bulyan, scored once": lambda f: rules.Bulyan(f=f, iterated=False),
    "caf": lambda f: rules.CAF(f=f),
    "monna": lambda f: rules.MoNNA(f=f, trusted=None),
    "aksel": lambda f: rules.Aksel(f=f),
    "aksel, the nearer half": lambda f: rules.Aksel(f=f, keep="mid"),
    "ctma(median)": lambda f: rules.CTMA(f=f),
    "ctma(krum)": lambda f: rules.CTMA(f=f, base=rules.Krum(f=f)),
    "ctma(trimmed mean)": lambda f: rules.CTMA(f=f, base=rules.TrimmedMean(f=f)),
    "mda": lambda f: rules.MDA(f=f),
    "smea": lambda f: rules.SMEA(f=f),
    "nnm + trimmed mean": lambda f: rules.chain(rules.NNM(f=f), rules.TrimmedMean(f=f)),
    "nnm + median": lambda f: rules.chain(rules.NNM(f=f), rules.Median()),
    "nnm + geometric median": lambda f: rules.chain(rules.NNM(f=f), rules.GeometricMedian()),
    "nnm + krum": lambda f: rules.chain(rules.NNM(f=f), rules.Krum(f=f)),
    "nnm + multi-krum": lambda f: rules.chain(rules.NNM(f=f), rules.MultiKrum(f=f)),
    "arc + trimmed mean": lambda f: rules.chain(rules.ARC(f=f), rules.TrimmedMean(f=f)),
    "arc + median": lambda f: rules.chain(rules.ARC(f=f), rules.Median()),
    "arc + geometric median": lambda f: rules.chain(rules.ARC(f=f), rules.GeometricMedian()),
    "arc + krum": lambda f: rules.chain(rules.ARC(f=f), rules.Krum(f=f)),
    "arc + nnm + trimmed mean": lambda f: rules.chain(rules.ARC(f=f), rules.NNM(f=f), rules.TrimmedMean(f=f)),
}
SMALL = [(5, 0), (3, 1), (4, 1), (5, 1), (5, 2), (7, 2)]
LARGER = [(8, 3), (9, 2), (11, 3), (11, 5), (12, 4), (13, 2)]
QUICK = ("trimmed mean", "median", "nnm + trimmed mean", "arc + trimmed mean", "multi-krum")
ROUNDING = 1 + 1e-9


def holds(name, n, f, d, starts=6, steps=30):
    rule = BOUNDED[name](f)
    if n >= rule.min_n():
        found = theory.empirical_kappa(rule, n, d, starts=starts, steps=steps)
        assert theory.kappa_lower_bound(n, f) / ROUNDING <= rule.kappa(n)
        assert found <= rule.kappa(n) * ROUNDING + 1e-12


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize(("n", "f"), [(3, 1), (5, 1), (7, 2)])
def test_no_rows_found_exceed_the_declared_kappa(name, n, f):
    holds(name, n, f, d=1, starts=2, steps=10)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDED)
def test_no_rows_sought_longer_do(name):
    for d, (n, f) in [*product((1, 2), SMALL), *zip((1, 2, 1, 1, 3, 5), LARGER, strict=True)]:
        if name != "smea" or n < 9:
            holds(name, n, f, d)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize(("n", "f"), [(21, 8), (60, 29), (100, 10)])
def test_no_two_points_of_many_rows_do(name, n, f):
    """The starts alone: honest rows at two points or on a lattice, the Byzantine ones together."""
    rule = BOUNDED[name](f)
    if name in ("smea", "mda") or n < rule.min_n():
        return
    for X in theory.empirical._configurations(n, f, 1, 20, np.random.default_rng(0)):
        assert theory.kappa_ratio(rule, X, np.arange(f, n)) <= rule.kappa(n) * ROUNDING


SIZES = [(5, 1, 40), (7, 2, 40), (10, 3, 40), (11, 5, 40), (21, 8, 40), (100, 30, 3), (400, 120, 3), (1000, 100, 3)]


@pytest.mark.parametrize("name", ["trimmed mean", "median", "meamed", "meamed of n - 2f", "phocas"])
@pytest.mark.parametrize(("n", "f", "steps"), SIZES)
def test_no_column_of_ties_does(name, n, f, steps):
    rule = BOUNDED[name](f)
    assert 0.1 * rule.kappa(n) < ties.largest_kappa(rule, n, f, 150, steps) <= rule.kappa(n) * ROUNDING


def two_points(n, f, minority, place):
    """Byzantine rows first, at `place`; then some honest rows at 1, the others at 0."""
    return np.array([place] * f + [1.0] * minority + [0.0] * (n - f - minority))[:, None]


REACHED = {  # who are at 1, and where the Byzantine ones are, mirrored where ties ask for it
    "trimmed mean": lambda n, f: (two_points(n, f, f, 0.0), f / (n - 2 * f)),
    "median": lambda n, f: (two_points(n, f, n - f - (n - 1) // 2, 1.0), (n - 1) // 2 / (n - f - (n - 1) // 2)),
    "phocas": lambda n, f: (-two_points(n, f, f, -1.0), 4 * f / (n - 2 * f)),
    "smea": lambda n, f: (two_points(n, f, f, -1.0), 4 * f / (n - 2 * f)),
    "nnm + trimmed mean": lambda n, f: (two_points(n, f, f, -1.0), 4 * f / (n - 2 * f)),
}


@pytest.mark.parametrize("name", REACHED)
@pytest.mark.parametrize(("n", "f"), [(3, 1), (5, 1), (7, 2), (8, 2), (9, 2), (11, 3), (11, 5), (12, 4), (15, 4), (60, 2), (100, 1)])
def test_an_exact_kappa_is_reached(name, n, f):
    rule, (X, exact) = BOUNDED[name](f), REACHED[name](n, f)
    assert rule.kappa(n) == pytest.approx(exact, rel=1e-12)
    worst = max(theory.kappa_ratio(rule, Y, np.arange(f, n)) for Y in (X, -X))
    assert worst == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("n", "f"), [(4, 1), (8, 2), (12, 5), (60, 10)])
def test_the_geometric_medians_kappa_is_reached_by_an_even_number_of_rows(n, f):
    """Every point between the two is a median: where the search begins decides, and so the order of the values."""
    rule, X = rules.GeometricMedian(f=f), two_points(n, f, n // 2 - f, 1.0)
    worst = max(theory.kappa_ratio(rule, Y, np.arange(f, n)) for Y in (X, -X))
    assert worst == pytest.approx(n / (n - 2 * f), rel=1e-5)
    assert worst <= rule.kappa(n)


def test_who_says_that_his_kappa_is_exact():
    exact = {cls.__name__ for cls in rules.available() if cls.kappa_exact}
    assert exact == {"Mean", "TrimmedMean", "Median", "MeaMed", "Phocas", "SMEA"}


@pytest.mark.parametrize(("n", "f"), [(5, 1), (7, 2), (11, 3), (11, 4), (25, 5), (100, 20), (1000, 100), (9, 0)])
def test_multi_krums_kappa_is_never_above_krums(n, f):
    for neighbors in ("n-f-2", "n-f-1"):
        krum = rules.Krum(f=f, neighbors=neighbors).kappa(n)
        assert all(rules.MultiKrum(f=f, m=m, neighbors=neighbors).kappa(n) <= krum * ROUNDING for m in range(1, n - f + 1))
    assert rules.MultiKrum(f=0).kappa(n) == pytest.approx(0)


def test_the_figures_of_the_documentation():
    figures = [rules.TrimmedMean(f=3).kappa(11), rules.Median(f=5).kappa(11), rules.MultiKrum(f=2).kappa(7)]
    assert figures == pytest.approx([0.6, 5, 4.86], rel=1e-3)
