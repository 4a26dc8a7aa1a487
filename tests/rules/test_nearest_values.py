"""MeaMed, Phocas and Bulyan average the values nearest a centre: the bits of sorting by |x - centre|, by every kernel; and κ with ties."""

import numpy as np
import pytest
import torch

from flwr_byzantine import rules
from flwr_byzantine.arrays import compiled, sorting, spill
from flwr_byzantine.arrays.kernels import round_into
from flwr_byzantine.arrays.spill import Spill
from flwr_byzantine.rules.coordinatewise import NearestMedian
from tests.support import ties
from tests.support.devices import CUDA, through_torch

KERNELS = [pytest.param("compiled", marks=pytest.mark.skipif(not compiled.AVAILABLE, reason="Numba is not installed")), "numpy", "spilled"]
NEAREST = {
    "meamed": lambda n, f: (rules.MeaMed(f=f), middle(n), n - f),
    "meamed, n - 2f": lambda n, f: (rules.MeaMed(f=f, keep="n-2f"), middle(n), n - 2 * f),
    "phocas": lambda n, f: (rules.Phocas(f=f), slice(f, n - f), n - f),
    "bulyan's second step": lambda n, f: (NearestMedian(drop=2 * f), middle(n), n - 2 * f),
}


def middle(n):
    return slice((n - 1) // 2, n // 2 + 1)


def in_order(values):
    """Mean of some values, added one after another in float64."""
    total = 0.0
    for value in values:
        total += float(value)
    return total / len(values)


def nearest(column, inner, k):
    """By definition: the first k in the order of |x - centre|, of two that are equally far on either side the smaller one."""
    ascending = np.sort(column.astype(np.float64)).tolist()
    centre = in_order(ascending[inner])
    ranked = sorted(ascending, key=lambda x: (abs(x - centre), x > centre, x if x > centre else -x))
    return in_order(sorted(ranked[:k]))


def naive(X, inner, k):
    out = np.empty(X.shape[1], X.dtype)
    round_into(np.array([nearest(column, inner, k) for column in X.T]), out)
    return out


def crowded(n, f, dtype, seed=0, top=None):
    """(n, 330) values that tie: on grids, with f colluders on one value or at the limits of the type; and some that do not."""
    rng, top = np.random.default_rng(seed), float(np.finfo(dtype).max) if top is None else top
    one, limits = rng.integers(-1, 2, size=(n, 60)), rng.integers(-2, 3, size=(n, 60)) * (top / 16 / n)
    one[:f], limits[:f] = 1, top * rng.choice([-1, 1], size=(f, 60))
    parts = [rng.integers(-1, 2, size=(n, 70)), rng.integers(-9, 10, size=(n, 70)) / 8, one, -one[:, :10], limits, rng.normal(size=(n, 60))]
    return np.concatenate(parts, axis=1)[:, rng.permutation(330)].astype(dtype)


def sizes():
    for n in (3, 5, 8, 11, 16, 33):
        for f in sorted({1, n // 4, (n - 1) // 2} - {0}):
            yield n, f


@pytest.fixture(params=KERNELS)
def kernel(request, monkeypatch, tmp_path):
    """How a rule is run on an array of NumPy."""
    monkeypatch.setattr(compiled, "AVAILABLE", compiled.AVAILABLE and request.param != "numpy")
    monkeypatch.setattr(spill, "EXTENT", 1 << 12)
    if request.param != "spilled":
        yield lambda rule, X: rule(X)
        return
    with Spill(tmp_path) as file:
        yield lambda rule, X: rule([file.add([row])[0] for row in X])


@pytest.mark.parametrize("name", NEAREST)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_nearest_values_are_those_of_sorting_by_distance(name, dtype, kernel):
    for n, f in sizes():
        X = crowded(n, f, dtype)
        rule, inner, k = NEAREST[name](n, f)
        if k > 0:
            np.testing.assert_array_equal(kernel(rule, X), naive(X, inner, k), err_msg=f"n = {n}, f = {f}")


@pytest.mark.parametrize("name", NEAREST)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_torch_gives_the_bits_of_sorting_by_distance_too(name, dtype, device, monkeypatch):
    through_torch(monkeypatch)
    top = float(torch.finfo(dtype).max)
    for n, f in sizes():
        X = torch.from_numpy(crowded(n, f, np.float64, top=top)).clamp(-top, top).to(dtype)
        rule, inner, k = NEAREST[name](n, f)
        if k > 0:
            expected = torch.from_numpy(naive(X.double().numpy(), inner, k)).to(dtype)
            assert torch.equal(rule(X.to(device)).cpu(), expected), (n, f)


def test_more_rows_than_are_sorted_by_comparators_and_int64(kernel):
    n, f = sorting.MAX_ROWS + 6, 300
    for dtype in (np.float32, np.int64):
        X = np.random.default_rng(0).integers(-3, 4, size=(n, 20)).astype(dtype)
        for name in NEAREST:
            rule, inner, k = NEAREST[name](n, f)
            np.testing.assert_array_equal(kernel(rule, X), naive(X, inner, k))


def test_bulyan_averages_the_nearest_of_the_rows_it_selects(kernel):
    for seed, f in enumerate((1, 2, 3)):
        X = crowded(4 * f + 5, f, np.float32, seed)
        rows = sorted(rules.Bulyan(f=f).aggregate(X).selected)
        np.testing.assert_array_equal(kernel(rules.Bulyan(f=f), X), naive(X[rows], middle(len(rows)), len(rows) - 2 * f))


def test_of_two_ends_equally_far_the_upper_one_goes(kernel):
    X = np.array([[-1.0, -1.0, 0.0, 0.0, 0.0, 1.0]]).T
    assert kernel(rules.MeaMed(f=2), X).tolist() == [-0.25]  # 1 goes, then a -1
    assert kernel(rules.MeaMed(f=2), -X).tolist() == [-0.25]  # a 1, then the other
    assert kernel(rules.MeaMed(f=1), X).tolist() == [-0.4]
    assert rules.MeaMed(f=2).aggregate(X).influence.tolist() == [0.125, 0.125, 0.25, 0.25, 0.25, 0.0]


def bound(rule, n):
    """What is declared, and what the centre's exact κ gives: a/(n - f - a) of the median, a = ⌊(n-1)/2⌋; f/(n - 2f) of the trimmed mean."""
    f, a = rule.f, (n - 1) // 2
    centre = f / (n - 2 * f) if isinstance(rule, rules.Phocas) else a / (n - f - a)
    return min(rule.kappa(n), 4 * f / (n - f) * (1 + centre))


FEW, MANY = [(5, 1), (7, 2), (10, 3), (11, 5), (21, 8)], [(50, 10), (100, 30), (400, 120), (1000, 100)]


@pytest.mark.parametrize("cls", [rules.MeaMed, rules.Phocas])
@pytest.mark.parametrize(("n", "f", "steps"), [(*size, 40) for size in FEW] + [(*size, 3) for size in MANY])
def test_no_tie_takes_kappa_above_its_bound(cls, n, f, steps):
    assert 0.1 < ties.largest_kappa(cls(f=f), n, f, 150, steps) <= bound(cls(f=f), n) * (1 + 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [rules.MeaMed, rules.Phocas])
@pytest.mark.parametrize(("n", "f"), FEW + MANY)
def test_no_tie_that_is_sought_longer_does_either(cls, n, f):
    for seed in range(3):
        assert ties.largest_kappa(cls(f=f), n, f, 600, 100, seed) <= bound(cls(f=f), n) * (1 + 1e-9)
