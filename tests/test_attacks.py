"""Attacks against the papers' formulas; through each way of mounting they give the same vectors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from flwr_byzantine import attacks, errors


def honest(h=9, d=30, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(1.0, 2.0, size=(h, d)).astype(dtype)


every = pytest.mark.parametrize("cls", attacks.available(), ids=lambda cls: cls.__name__)


@every
def test_shape_kind_dtype_and_honest_unchanged(cls):
    X = honest(dtype=np.float32)
    kept = X.copy()
    B = cls()(X, 3)
    assert B.shape == (3, 30)
    assert B.dtype == np.float32
    np.testing.assert_array_equal(X, kept)
    T = cls()(torch.from_numpy(X), 3)
    assert T.dtype == torch.float32
    np.testing.assert_array_equal(T.numpy(), B)
    assert cls()(X, 0).shape == (0, 30)


@every
def test_declares_knowledge_and_source(cls):
    assert cls.knowledge in {"own", "honest", "rule"}
    assert any(character.isdigit() for character in cls.reference)
    assert "Source:" in cls.__doc__
    assert attacks.get(cls.__name__.upper()) is cls


@every
def test_same_seed_same_vectors(cls):
    first, second, other = (cls()(honest(), 2, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    if cls is attacks.Gaussian:
        assert not np.array_equal(first, other)


@given(n=st.integers(5, 60), data=st.data())
def test_alie_is_the_papers(n, data):
    f = data.draw(st.integers(1, (n - 1) // 2))
    X = honest(n - f, 7)
    s = math.floor(n / 2 + 1) - f
    z = min(max(norm.ppf((n - f - s) / (n - f)), 0.0), 3.0) if s > 0 else 3.0
    np.testing.assert_allclose(attacks.ALIE()(X, f), np.tile(X.mean(0) - z * X.std(0), (f, 1)))


def test_formulas():
    X = honest()
    np.testing.assert_allclose(attacks.IPM(epsilon=0.3)(X, 1)[0], -0.3 * X.mean(0))
    np.testing.assert_allclose(attacks.SignFlip(scale=2.0)(X, 2), -2 * X[:2])
    np.testing.assert_allclose(attacks.Scaling(factor=4.0)(X, 2), 4 * X[:2])
    np.testing.assert_array_equal(attacks.Mimic(target=3)(X, 2), X[[3, 3]])
    assert np.isnan(attacks.NaNs()(X, 1)).all()
    noise = attacks.Gaussian(std=3.0)(np.zeros((1, 20_000)), 1)
    assert noise.std() == pytest.approx(3.0, rel=0.05)


def test_mimic_chooses_the_row_that_differs_most():
    X = honest()
    X[4] += 50
    np.testing.assert_array_equal(attacks.Mimic()(X, 1)[0], X[4])


@pytest.mark.parametrize("direction", ["unit", "std", "sign"])
def test_min_max_and_min_sum_stay_just_within_the_honest_spread(direction):
    X = honest()
    far = max(((x - y) ** 2).sum() for x in X for y in X)
    b = attacks.MinMax(direction=direction)(X, 1)[0]
    assert ((X - b) ** 2).sum(1).max() == pytest.approx(far, rel=1e-6)
    total = max(((X - y) ** 2).sum() for y in X)
    b = attacks.MinSum(direction=direction)(X, 1)[0]
    assert ((X - b) ** 2).sum() == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: attacks.get("allie"), "unknown attack 'allie'; choose one of: ALIE, "),
        (lambda: attacks.SignFlip()(honest(), -1), "SignFlip: f must be an integer >= 0, got -1"),
        (lambda: attacks.IPM(epsilon=0), "IPM: epsilon must be a number > 0, got 0"),
        (lambda: attacks.SignFlip()([], 1), "expected at least one update, got none"),
        (lambda: attacks.Mimic(target=99)(honest(), 1), "Mimic: target must be below"),
        (lambda: attacks.ALIE()(honest(dtype=np.int64), 1), "needs updates of a float dtype"),
    ],
)
def test_mistakes_get_one_clear_sentence(make, message):
    with pytest.raises(errors.ByzantineError, match=message):
        make()
