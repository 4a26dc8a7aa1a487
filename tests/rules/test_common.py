"""Checks that every rule must pass, over the rules that `available()` discovers."""

import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from flwr_byzantine import errors, rules
from tests.support.rules import ROBUST, RULES, F, answer, call, data, stated, trusted

every_rule = pytest.mark.parametrize("rule", RULES, ids=str)
every_robust = pytest.mark.parametrize("rule", ROBUST, ids=str)


@every_rule
def test_same_answer_twice_and_input_unchanged(rule):
    X = data()
    kept = X.copy()
    np.testing.assert_array_equal(call(rule, X), call(rule, X))
    np.testing.assert_array_equal(X, kept)


@every_rule
def test_order_of_the_rows_does_not_matter(rule):
    X = data()
    order = np.random.default_rng(1).permutation(len(X))
    if not stated(rule, "symmetric"):
        order = np.arange(len(X))
    np.testing.assert_allclose(call(rule, X[order]), call(rule, X), rtol=1e-12, atol=1e-12)


@every_rule
def test_moves_and_scales_with_the_data(rule):
    X = data()
    if stated(rule, "equivariant"):
        np.testing.assert_allclose(call(rule, X + 3.0), call(rule, X) + 3.0, atol=1e-9)
    if stated(rule, "scales"):
        keywords = {name: 1e-3 * value for name, value in trusted(rule, X).items()}
        np.testing.assert_allclose(call(rule, X * 1e-3, **keywords), call(rule, X) * 1e-3, atol=1e-12)


@every_rule
def test_equal_rows_give_that_row(rule):
    if not stated(rule, "scales") or trusted(rule, data()) or isinstance(rule, rules.SLSGD):
        pytest.skip("clips to a fixed radius, or to the reference's norm; or goes a part of the way")
    row = data(1)[0]
    np.testing.assert_allclose(call(rule, np.tile(row, (13, 1))), row, rtol=1e-14)


@every_robust
@pytest.mark.parametrize("value", [1e6, -1e30, 3.4e38])
def test_f_hostile_rows_stay_powerless(rule, value):
    """The answer stays within the honest rows' ball, and hostile sizes change nothing."""
    X = data(dtype=np.float32)
    X[[1, 5]] = np.float32(value)
    result = call(rule, X)
    honest = np.delete(X, [1, 5], axis=0).astype(np.float64)
    assert np.isfinite(result).all()
    assert np.linalg.norm(result - honest.mean(0)) < 3 * np.linalg.norm(honest - honest.mean(0), axis=1).max()


@every_rule
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_dtype_is_kept(rule, dtype):
    result = call(rule, (10 * data()).astype(dtype))
    assert result.dtype == dtype
    assert result.shape == (40,)


@every_rule
def test_kinds_of_input(rule):
    X = data(dtype=np.float32)
    expected = call(rule, X)
    np.testing.assert_array_equal(call(rule, list(X)), expected)
    tensor = torch.from_numpy(X)
    np.testing.assert_array_equal(call(rule, tensor).numpy(), expected)
    np.testing.assert_array_equal(call(rule, list(tensor)).numpy(), expected)
    assert call(rule, tensor.to(torch.bfloat16), **trusted(rule, X)).dtype == torch.bfloat16


@every_rule
def test_too_few_rows_is_one_clear_sentence(rule):
    n = rule.min_n() - 1
    assert len(call(rule, data(rule.min_n()))) == 40
    if n > 0:
        with pytest.raises(rules.TooFewUpdates, match=rf"needs at least \d+ updates, got {n}"):
            call(rule, data(n))


@every_rule
def test_weights_scores_selection_and_influence(rule):
    out = answer(rule, data())
    assert out.influence.shape == (13,)
    assert out.influence.min() >= 0
    assert out.influence.sum() == pytest.approx(1)
    if out.weights is not None:
        np.testing.assert_allclose(out.weights @ data(), out.value, atol=1e-12)
    if out.selected is not None and out.weights is not None:
        assert set(np.flatnonzero(out.weights)) == set(out.selected)


@every_rule
def test_declares_where_it_comes_from_and_pickles(rule):
    assert re.search(r"\d{4}", rule.reference) or isinstance(rule, rules.Chain)
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert rule.with_f(1).f in (0, 1)


@every_rule
def test_state_is_explicit(rule):
    X = data()
    state = rule.init(40)
    first, following = rule.step(X, state, **trusted(rule, X))
    np.testing.assert_array_equal(first, rule.step(X, state, **trusted(rule, X))[0])
    assert following.round == 1


@every_robust
def test_declared_kappa_holds_against_random_colluders(rule):
    kappa, rng = rule.kappa(13), np.random.default_rng(3)
    if kappa is None:
        pytest.skip("no bound is known for this rule")
    for size in (0.1, 1, 3, 100):
        X = data(d=3, seed=int(size * 10))
        X[-F:] = X[:-F].mean(0) + size * rng.normal(size=3)
        honest = X[:-F]
        spread = ((honest - honest.mean(0)) ** 2).sum(1).mean()
        assert ((call(rule, X) - honest.mean(0)) ** 2).sum() <= kappa * spread


def test_one_byzantine_row_steers_the_mean_and_not_krum():
    """Blanchard et al., Lemma 1: with V_n = n u - Σ V_i the mean is any u."""
    X, u = data(), np.full(40, 100.0)
    X[-1] = 13 * u - X[:-1].sum(0)
    np.testing.assert_allclose(rules.Mean()(X), u)
    assert np.abs(rules.Krum(f=1)(X)).max() < 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@every_robust
def test_f_rows_that_are_not_finite_are_left_out(rule, bad):
    """They are Byzantine; what is left is aggregated with f unchanged while there is enough of it (THEORY §5)."""
    X = data()
    X[3, 7] = X[8, 0] = bad
    rest = np.delete(X, [3, 8], axis=0)
    out = answer(rule, X)
    np.testing.assert_array_equal(out.value, call(rule if rule.min_n() <= 11 else rule.with_f(0), rest))
    assert out.influence[[3, 8]].tolist() == [0, 0]
    assert out.selected is None or not {3, 8} & set(out.selected)


@every_rule
def test_more_than_f_rows_that_are_not_finite_are_an_error(rule):
    X = data()
    X[: rule.f + 1, 7] = np.nan
    with pytest.raises(errors.MalformedUpdate, match=r"row 0 .* is not finite"):
        call(rule, X)


def test_rules_load_neither_flwr_nor_torch():
    code = "import sys, flwr_byzantine.rules, flwr_byzantine.attacks; print([m for m in ('flwr', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@every_rule
def test_every_rule_takes_a_trusted_vector(rule):
    """Rules that trust nobody do not look at it."""
    X = data(13)
    expected = rule(X, **trusted(rule, X))
    np.testing.assert_array_equal(rule(X, trusted=np.median(X, axis=0) + 0.1), expected)
