"""What the proofs of κ rest on: rows that they name as the worst reach it, and their lemmas hold on rows that tie and on random ones."""

import re
from pathlib import Path

import numpy as np
import pytest

from flwr_byzantine import rules, theory

DOCUMENT = (Path(__file__).parents[2] / "docs" / "theory.md").read_text(encoding="utf-8")


def drawn(rng, n, f, d):
    """Rows of few levels, which tie, or random ones; colluders at a mirror image, at an honest row or anywhere; first or last."""
    X = rng.integers(-2, 3, size=(n, d)).astype(float) if rng.random() < 0.5 else rng.normal(size=(n, d))
    if rng.random() < 0.5:
        X[n - f :] = rng.choice([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]) * X[0]
    return (X, np.arange(n - f)) if rng.random() < 0.5 else (X[::-1].copy(), np.arange(f, n))


def mirror(n, f):
    """f rows at -1, n - 2f at 0, f at 1; those at -1 are Byzantine."""
    return np.repeat([-1.0, 0.0, 1.0], [f, n - 2 * f, f])[:, None], np.arange(f, n)


def around(n, f, tail, spare):
    """The honest values of which the window's proof says that they are the worst, and colluders as far above the centre as it needs."""
    q = min(f, n - f - tail - spare)
    low, one, top = -q * tail, (q + spare) * tail, (q + spare) * (tail + 2 * q)  # whole numbers: they must tie
    honest = [low] * (q + spare) + [one] * (n - f - q - spare - tail) + [top] * tail
    rows = [*honest, *[2 * top - low] * q, *[99 * top] * (f - q)]
    return -np.array(rows, float)[:, None], np.arange(n - f)  # negative: of two ends equally far the upper one goes


def centre(n, f):
    return n - f - (n - 1) // 2


def two_points(n, f):
    """n/2 rows at 0 and n/2 at (1, 0), f of these Byzantine; those at 0 stand a little apart, so that the median is at 1."""
    X = np.zeros((n, 2))
    X[n // 2 :, 0] = 1
    X[: n // 2, 1] = np.linspace(-1e-3, 1e-3, n // 2)
    return X, np.arange(n - f)


EXACT = {
    "meamed": (lambda f: rules.MeaMed(f=f), lambda n, f: around(n, f, centre(n, f), 0)),
    "meamed of n - 2f": (lambda f: rules.MeaMed(f=f, keep="n-2f"), lambda n, f: around(n, f, centre(n, f), f)),
    "phocas": (lambda f: rules.Phocas(f=f), lambda n, f: around(n, f, n - 2 * f, 0)),
    "geometric median": (lambda f: rules.GeometricMedian(f=f), two_points),
}
SIZES = [(6, 1), (8, 2), (12, 4), (5, 1), (7, 2), (11, 3), (13, 2)]


@pytest.mark.parametrize(("name", "n", "f"), [(name, n, f) for name in EXACT for n, f in SIZES if n % 2 == 0 or name != "geometric median"])
def test_the_worst_rows_of_the_proof_reach_the_bound(name, n, f):
    make, worst = EXACT[name]
    rule, (X, honest) = make(f), worst(n, f)
    assert theory.kappa_ratio(rule, X, honest) == pytest.approx(rule.kappa(n), rel=1e-4)


@pytest.mark.parametrize("f", [1, 2, 5])
def test_a_tie_in_the_middle_takes_two_values_from_one_side(f):
    """f + 1 values at 0, of which one is honest, f + 1 at 1: MeaMed of two values is 0."""
    rule, X = rules.MeaMed(f=f, keep="n-2f"), np.repeat([0.0, 1.0], f + 1)[:, None]
    assert theory.kappa_ratio(rule, X, np.arange(f, 2 * f + 2)) == pytest.approx(rule.kappa(2 * f + 2)) == f + 1


@pytest.mark.parametrize(("n", "f"), [(n, f) for n in range(3, 13) for f in range(1, (n - 1) // 2 + 1)])
def test_no_column_of_few_levels_exceeds_a_windows_bound(n, f):
    X = np.random.default_rng([n, f]).integers(0, np.repeat([2, 3, 5, 9], 3000), size=(n, 12000)).astype(float)
    mean, variance = X[f:].mean(axis=0), X[f:].var(axis=0)
    for rule in (rules.MeaMed(f=f), rules.MeaMed(f=f, keep="n-2f"), rules.Phocas(f=f)):
        for side in (1, -1):  # of two ends equally far the upper one goes
            assert ((side * rule(side * X) - mean) ** 2 <= rule.kappa(n) * variance + 1e-9).all()


@pytest.mark.parametrize("last", [rules.TrimmedMean, rules.Median, rules.Krum, rules.GeometricMedian, rules.MDA, rules.SMEA, rules.CAF])
@pytest.mark.parametrize(("n", "f"), [(5, 1), (7, 2), (11, 3)])
def test_nnm_before_any_rule_costs_four_times_the_least_kappa(last, n, f):
    X, honest = mirror(n, f)
    rule = rules.chain(rules.NNM(f=f), last(f=f))
    assert theory.kappa_ratio(rule, X, honest) == pytest.approx(4 * theory.kappa_lower_bound(n, f))


@pytest.mark.parametrize(("n", "f"), SIZES)
def test_nnm_before_the_median_has_no_less_than_meamed(n, f):
    X, honest = around(n, f, centre(n, f), 0)
    X[n - f :] -= 1e-6 * X[n - f :]  # a little nearer than the honest rows whose place they take
    rule = rules.chain(rules.NNM(f=f), rules.Median(f=f))
    assert theory.kappa_ratio(rule, X, honest) == pytest.approx(rules.MeaMed(f=f).kappa(n), rel=1e-4)


def spread(X, centre):
    return ((X - centre) ** 2).sum(axis=1).mean()


@pytest.mark.parametrize(("n", "f"), [(5, 1), (7, 2), (9, 4), (11, 3)])
def test_nnm_leaves_a_share_of_the_honest_variance_and_arc_takes_what_it_shifts(n, f):
    rng, h = np.random.default_rng(n), n - f
    cut = 2 * f * h // n
    for _ in range(300):
        X, honest = drawn(rng, n, f, int(rng.integers(1, 3)))
        mean = X[honest].mean(axis=0)
        assert spread(rules.NNM(f=f).transform(X)[honest], mean) <= 4 * f / h * spread(X[honest], mean) + 1e-9
        clipped = rules.ARC(f=f).transform(X)[honest]
        shift = ((clipped.mean(axis=0) - mean) ** 2).sum()
        assert spread(clipped, clipped.mean(axis=0)) + (h - cut) / cut * shift <= spread(X[honest], mean) + 1e-9


def test_bucketing_by_parts():
    rng = np.random.default_rng(0)
    for n, f, s in ((8, 1, 2), (12, 2, 2), (9, 1, 3)):
        last = rules.Median(f=f)
        limit = (n - f) / (n - s * f) * (1 + last.kappa(n // s)) - 1
        for _ in range(200):
            X, honest = drawn(rng, n, f, 1)
            assert theory.kappa_ratio(rules.chain(rules.Bucketing(s=s), last), X, honest) <= limit


def test_the_document_says_what_is_proved_and_found_no_more():
    told = re.findall(r"\| ([A-Z][\w +,]+) \| \((\d+), (\d+)\) \| ([\d.]+) \| ([\d.]+) ", DOCUMENT)
    assert len(told) == 10
    for name, n, f, proved, found in told:
        rule = rules.MoNNA(f=int(f), trusted=None) if name.startswith("MoNNA") else rules.parse(name.replace(" ", "").lower(), f=int(f))
        assert float(proved) == pytest.approx(rule.kappa(int(n)), rel=5e-3)
        assert theory.kappa_lower_bound(int(n), int(f)) <= float(found) <= float(proved)
