"""Each rule against the naive reference, over random inputs, NumPy and torch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from flwr_byzantine import rules
from tests.support import reference
from tests.support import reference_newer as newer

FEW = 7


def few(rule):
    """The rule on a few coordinates, where naive loops over all would take long."""
    return lambda X: rule(X[:, :FEW])


CASES = {
    "mean": (lambda f: rules.Mean(), reference.mean),
    "krum": (lambda f: rules.Krum(f=f), reference.krum),
    "multi-krum": (lambda f: rules.MultiKrum(f=f), lambda X, f: reference.multi_krum(X, f, len(X) - f)),
    "multi-krum m=3": (lambda f: rules.MultiKrum(f=f, m=3), lambda X, f: reference.multi_krum(X, f, 3)),
    "iterated": (lambda f: rules.MultiKrum(f=f, m=2, iterated=True), lambda X, f: reference.iterated_multi_krum(X, f, 2)),
    "krum n-f-1": (lambda f: rules.Krum(f=f, neighbors="n-f-1"), reference.wide_krum),
    "krum, fourth powers": (lambda f: rules.Krum(f=f, power=4), reference.fourth_krum),
    "bulyan once": (lambda f: rules.Bulyan(f=f, iterated=False), reference.bulyan_once),
    "geometric median as ByzFL": (
        lambda f: rules.GeometricMedian(start="origin", nu=0.1, smoothing="absolute", max_iter=3, tol=0.0),
        lambda X, f: reference.geometric_median_iterates(X, 0.1, 3),
    ),
    "bulyan": (lambda f: rules.Bulyan(f=f), reference.bulyan),
    "median": (lambda f: rules.Median(f=f), reference.median),
    "trimmed mean": (lambda f: rules.TrimmedMean(f=f), reference.trimmed_mean),
    "nnm + trimmed mean": (
        lambda f: rules.chain(rules.NNM(f=f), rules.TrimmedMean(f=f)),
        lambda X, f: reference.trimmed_mean(reference.nnm(X, f), f),
    ),
    "nnm + median": (lambda f: rules.chain(rules.NNM(f=f), rules.Median(f=f)), lambda X, f: reference.median(reference.nnm(X, f))),
    "meamed": (lambda f: rules.MeaMed(f=f), lambda X, f: reference.nearest_median(X, len(X) - f)),
    "phocas": (lambda f: rules.Phocas(f=f), reference.phocas),
    "cge": (lambda f: rules.CGE(f=f), reference.cge),
    "mda": (lambda f: rules.MDA(f=f), reference.mda),
    "smea": (lambda f: rules.SMEA(f=f), reference.smea),
    "monna": (lambda f: rules.MoNNA(f=f), reference.monna),
    "caf": (lambda f: rules.CAF(f=f), reference.caf),
    "dnc": (lambda f: rules.DnC(f=f), reference.dnc),
    "centered clipping": (lambda f: rules.CenteredClipping(tau=2.0, max_iter=3), lambda X, f: reference.centered_clipping(X, 2.0, 3)),
    "clipping + mean": (lambda f: rules.chain(rules.Clipping(radius=1.0), rules.Mean()), lambda X, f: reference.clip(X, 1.0).mean(0)),
    "aksel": (lambda f: rules.Aksel(f=f), newer.aksel),
    "aksel mid": (lambda f: rules.Aksel(f=f, keep="mid"), lambda X, f: newer.nearest_rows(X, reference.median(X), (len(X) + 1) // 2)),
    "ctma(median)": (lambda f: rules.CTMA(f=f), lambda X, f: newer.ctma(X, f, reference.median)),
    "ctma(krum)": (lambda f: rules.CTMA(f=f, base=rules.Krum(f=f)), lambda X, f: newer.ctma(X, f, reference.krum)),
    "ctma(arc + trimmed mean)": (
        lambda f: rules.parse("ctma(arc+trimmed-mean)", f=f),
        lambda X, f: newer.ctma(X, f, lambda X, f: reference.trimmed_mean(reference.arc(X, f), f)),
    ),
    "arc + ctma(trimmed mean)": (
        lambda f: rules.parse("arc+ctma(trimmed-mean)", f=f),
        lambda X, f: newer.ctma(reference.arc(X, f), f, reference.trimmed_mean),
    ),
    "gas(krum), one group": (lambda f: rules.GAS(f=f, p=1), lambda X, f: newer.gas(X, f, [list(range(X.shape[1]))], reference.krum)),
    "gas(median), a group each": (
        lambda f: few(rules.GAS(f=f, base=rules.Median())),
        lambda X, f: newer.gas(X, f, [[k] for k in range(len(X[0, :FEW]))], reference.median)[:FEW],
    ),
    "signsgd": (lambda f: rules.SignSGD(f=f), lambda X, f: newer.majority(X)),
    "rlr": (lambda f: rules.RLR(f=f), lambda X, f: newer.rlr(X, f + 1, np.mean(X, axis=0))),
    "rlr(median) θ = 3": (
        lambda f: rules.RLR(f=f, base=rules.Median(), theta=3),
        lambda X, f: newer.rlr(X, 3, reference.median(X)),
    ),
    "nnm + rlr(median)": (
        lambda f: rules.chain(rules.NNM(f=f), rules.RLR(f=f, base=rules.Median())),
        lambda X, f: newer.rlr(reference.nnm(X, f), f + 1, reference.median(reference.nnm(X, f))),
    ),
    "slsgd": (lambda f: rules.SLSGD(f=f, alpha=0.3), lambda X, f: 0.3 * reference.trimmed_mean(X, f)),
    "fedrdf": (lambda f: few(rules.FedRDF(f=f)), lambda X, f: newer.fedrdf(X[:, :FEW], 8)),
    "crfl": (lambda f: rules.CRFL(radius=1.0, growth=0.5, noise=0.0), lambda X, f: reference.clip([np.mean(X, axis=0)], 1.5)[0]),
    "arc + mean": (lambda f: rules.chain(rules.ARC(f=f), rules.Mean()), lambda X, f: reference.arc(X, f).mean(0)),
}


@st.composite
def problems(draw):
    """Generic rows (no ties: equal scores may fall either way in two correct programs) with f hostile ones among them."""
    f = draw(st.integers(0, 3))
    n = 4 * f + 3 + draw(st.integers(0, 5)) + (2 if f == 0 else 0)
    d = draw(st.sampled_from([2, 7, 300]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    X = rng.normal(size=(n, d)) + draw(st.sampled_from([0.0, 10.0]))
    X[rng.permutation(n)[:f]] += draw(st.sampled_from([0.0, 1.0, 1e3])) * rng.normal(size=(f, d))
    return X, f


@pytest.mark.parametrize("name", CASES)
@given(problem=problems())
def test_rule_is_the_papers_formula(name, problem):
    X, f = problem
    make, naive = CASES[name]
    np.testing.assert_allclose(make(f)(X), naive(X, f), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
@given(problem=problems())
def test_torch_gives_the_same_numbers(name, problem):
    X, f = problem
    make, _ = CASES[name]
    X32 = X.astype(np.float32)
    result = make(f)(torch.from_numpy(X32))
    assert result.dtype == torch.float32
    np.testing.assert_array_equal(result.numpy(), make(f)(X32))


@given(problem=problems())
def test_krum_after_nnm_picks_a_row_of_least_score(problem):
    """Mixed rows coincide often, so that the pick itself is a tie."""
    X, f = problem
    mixed = reference.nnm(X, f)
    y = rules.chain(rules.NNM(f=f), rules.Krum(f=f))(X)
    pick = int(np.argmin(((mixed - y) ** 2).sum(1)))
    np.testing.assert_allclose(mixed[pick], y, atol=1e-9)
    scores = reference.krum_scores(mixed, f)
    assert scores[pick] <= min(scores) + 1e-9 * (1 + max(scores))


@given(problem=problems())
def test_geometric_median_minimises_the_sum_of_distances(problem):
    X, f = problem
    y = rules.GeometricMedian(f=f)(X)
    best = minimize(lambda z: reference.geometric_median_cost(X, z), y, method="Nelder-Mead" if X.shape[1] < 3 else "L-BFGS-B")
    assert reference.geometric_median_cost(X, y) <= best.fun * (1 + 1e-5)


@given(X=arrays(np.float64, st.tuples(st.integers(3, 9), st.integers(1, 20)), elements=st.floats(-5, 5, width=16)))
def test_coordinate_wise_rules_with_ties(X):
    for f in range((len(X) - 1) // 2 + 1):
        np.testing.assert_allclose(rules.TrimmedMean(f=f)(X), reference.trimmed_mean(X, f), atol=1e-12)
    np.testing.assert_allclose(rules.Median()(X), reference.median(X), atol=1e-12)


def test_iterated_selection_differs_from_one_shot():
    """The paper's m-Krum scores again after each pick: a set that shows the difference exists among few draws."""
    rng = np.random.default_rng(0)
    differ = 0
    for _ in range(20):
        X = rng.normal(size=(13, 5))
        once = rules.MultiKrum(f=2, m=5).aggregate(X).selected
        again = rules.MultiKrum(f=2, m=5, iterated=True).aggregate(X).selected
        differ += once != again
    assert differ > 0


def small_sets():
    """All (n, f) with 2f < n <= 8, with rows in general position and rows on a grid, which tie."""
    rng = np.random.default_rng(0)
    for n in range(1, 9):
        for f in range((n - 1) // 2 + 1):
            for _ in range(6):
                yield rng.normal(size=(n, 3)), f
                yield rng.integers(-2, 3, size=(n, 2)).astype(float), f


def objective(rule, X, rows):
    """What the rule makes least: the squared diameter, or the top eigenvalue of the scatter."""
    S = X[list(rows)]
    if isinstance(rule, rules.MDA):
        return max((reference.sq(a, b) for a in S for b in S), default=0.0)
    return float(np.linalg.norm(S - S.mean(0), 2) ** 2)


@pytest.mark.parametrize("rule", [rules.MDA, rules.SMEA])
def test_exact_search_finds_what_enumeration_finds(rule):
    for X, f in small_sets():
        subsets = list(reference.subsets(len(X), len(X) - f))
        values = np.array([objective(rule(f=f), X, rows) for rows in subsets])
        best = [rows for rows, value in zip(subsets, values, strict=True) if value <= values.min() * (1 + 1e-9) + 1e-12]
        assert rule(f=f).aggregate(X).selected in best


@pytest.mark.parametrize(("n", "f"), [(20, 6), (24, 8)])
def test_exact_search_withstands_a_cluster_of_colluders_at_sizes_that_nobody_enumerates(n, f):
    X = np.random.default_rng(1).normal(size=(n, 5))
    X[n - f :] = X[: n - f].mean(0) + 3.0
    assert rules.MDA(f=f).aggregate(X).selected is not None
    assert objective(rules.MDA(f=f), X, rules.MDA(f=f).aggregate(X).selected) <= objective(rules.MDA(f=f), X, range(n - f))


def test_smea_refuses_more_subsets_than_its_limit():
    with pytest.raises(rules.InvalidParameter, match=r"has 735,471 subsets to search, the limit is 50,000; use CAF"):
        rules.SMEA(f=8)(np.zeros((24, 2)))
    with pytest.raises(rules.InvalidParameter, match="MDA: f must be at most 30"):
        rules.MDA(f=31)
