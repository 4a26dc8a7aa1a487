"""How much of the aggregate each row owns: exact shares, by counting, on rows that tie and rows that are left out."""

import numpy as np
import pytest

from flwr_byzantine import rules
from tests.support.rules import RULES, F, answer, data

COORDINATEWISE = [cls(f=F) for cls in rules.available() if issubclass(cls, rules.families.Coordinatewise)]
VARIANTS = [rules.MeaMed(f=F, keep="n-2f"), rules.Median(), rules.TrimmedMean(f=0)]


def grid(n=7, d=6, seed=0):
    return np.random.default_rng(seed).integers(-2, 3, size=(n, d)).astype(float)


def averaged(rule, column):
    """The ranks whose values the rule averages, by its definition."""
    ascending = np.sort(column)
    n, f = len(column), rule.f
    inner = slice((n - 1) // 2, n // 2 + 1) if isinstance(rule, rules.Median | rules.MeaMed) else slice(f, n - f)
    if isinstance(rule, rules.Median | rules.TrimmedMean):
        return range(n)[inner]
    length = n - (2 * f if getattr(rule, "keep", "n-f") == "n-2f" else f)
    centre = ascending[inner].mean()
    low, high = 0, n
    while high - low > length:  # the farther end goes, the upper one of two that are equally far
        low, high = (low + 1, high) if centre - ascending[low] > ascending[high - 1] - centre else (low, high - 1)
    return range(low, high)


def owned(rule, X):
    """Each averaged rank counts one; rows of equal value share the ranks of that value."""
    counts = np.zeros(len(X))
    for column in X.T:
        ascending = np.sort(column)
        for rank in averaged(rule, column):
            tied = column == ascending[rank]
            counts += tied / tied.sum()
    return counts / counts.sum()


@pytest.mark.parametrize("rule", [*COORDINATEWISE, *VARIANTS], ids=str)
@pytest.mark.parametrize("n", [7, 8])
def test_of_a_coordinatewise_rule_it_is_the_share_of_the_averaged_values(rule, n):
    for seed in range(5):
        X = grid(n, seed=seed)
        np.testing.assert_allclose(rule.aggregate(X).influence, owned(rule, X), rtol=1e-12)
        expected = [np.sort(column)[list(averaged(rule, column))].mean() for column in X.T]
        np.testing.assert_allclose(rule(X), expected, atol=1e-12)


def test_behind_a_mixing_rule_it_is_carried_back_to_the_rows():
    X = data(n=9, d=5)
    mix = rules.NNM(f=F)
    mixed = np.array([X[np.argsort(((X - x) ** 2).sum(1), kind="stable")[:7]].mean(0) for x in X])
    members = np.array([np.isin(np.arange(9), np.argsort(((X - x) ** 2).sum(1), kind="stable")[:7]) / 7 for x in X])
    found = rules.chain(mix, rules.TrimmedMean(f=F)).aggregate(X)
    np.testing.assert_allclose(found.influence, owned(rules.TrimmedMean(f=F), mixed) @ members, rtol=1e-12)
    assert found.weights is None


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("make", [data, grid, lambda: np.zeros((13, 4)), lambda: np.eye(13), lambda: -np.ones((13, 3))])
def test_it_is_a_distribution_over_the_rows_that_is_made_of_their_weights(rule, make):
    out = answer(rule, np.concatenate([make(), make()])[:13])
    assert (out.influence >= 0).all()
    assert out.influence.sum() == pytest.approx(1, rel=1e-12)
    if out.weights is not None:
        total = np.abs(out.weights).sum()
        np.testing.assert_allclose(out.influence, np.abs(out.weights) / total if total else 1 / 13, rtol=1e-12)


@pytest.mark.parametrize("rule", [rule for rule in RULES if all(stage.equivariant for stage in rule.stages())], ids=str)
def test_weights_of_rules_that_move_with_the_rows_sum_to_one(rule):
    weights = answer(rule, data()).weights
    assert weights is None or weights.sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.f >= 1], ids=str)
def test_a_row_that_is_left_out_owns_nothing_and_scores_worst(rule):
    X = data(n=14)
    plain = answer(rule, X)
    X[4, 1] = np.nan
    out, rest = answer(rule, X), answer(rule, np.delete(X, 4, axis=0))
    assert out.influence.tolist() == np.insert(rest.influence, 4, 0.0).tolist()
    for name, fill in (("weights", 0.0), ("scores", np.inf)):
        assert (getattr(out, name) is None) is (getattr(plain, name) is None)
        if getattr(out, name) is not None:
            assert getattr(out, name).tolist() == np.insert(getattr(rest, name), 4, fill).tolist()
    assert out.selected == (None if rest.selected is None else tuple(i + (i >= 4) for i in rest.selected))
