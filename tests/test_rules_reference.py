"""Each rule against the naive reference, over random inputs, NumPy and torch."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from flwr_byzantine import rules

spec = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)

CASES = {
    "mean": (lambda f: rules.Mean(), reference.mean),
    "krum": (lambda f: rules.Krum(f=f), reference.krum),
    "multi-krum": (lambda f: rules.MultiKrum(f=f), lambda X, f: reference.multi_krum(X, f, len(X) - f)),
    "multi-krum m=3": (lambda f: rules.MultiKrum(f=f, m=3), lambda X, f: reference.multi_krum(X, f, 3)),
    "iterated": (lambda f: rules.MultiKrum(f=f, m=2, iterated=True), lambda X, f: reference.iterated_multi_krum(X, f, 2)),
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
