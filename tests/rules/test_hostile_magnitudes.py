"""f rows of any size: no rule of the catalogue bends to them more than to rows of ordinary size, fails, or gives what is not finite."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from flwr_byzantine import rules
from flwr_byzantine.arrays import compiled
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.rules.pipeline import run
from tests.support import magnitudes
from tests.support.devices import through_torch
from tests.support.magnitudes import HUGE, ORDINARY, PATTERNS, honest, mixed, off, result, withstands

PLACES = ("first", "amid", "last")
CHAINS = (
    "nnm+trimmed-mean",
    "nnm+geometric-median",
    "arc+krum",
    "arc+nnm+trimmed-mean",
    "clipping+caf",
    "nnm+ctma(krum)",
    "gas(trimmed-mean)",
    "bucketing+centered-clipping",
)
CATALOGUE = list(magnitudes.catalogue(CHAINS))


def hostile(pattern, f, size, dtype):
    with np.errstate(over="ignore"):
        return np.clip(PATTERNS[pattern](f, size), np.finfo(dtype).min, np.finfo(dtype).max).astype(dtype)


def most(rule, pattern, place, f):
    """The most that rows of ordinary size do in this place; None where they own the rule already."""
    if not withstands(rule):
        return None
    good = honest(f)
    found = max(off(result(rule, mixed(good, PATTERNS[pattern](f, size), place)), good) for size in ORDINARY)
    return found if found < 5 else None  # one direction at a time is all that DnC looks at


def bends(rule, dtypes, places, sizes=lambda dtype: HUGE[dtype]):
    """Each case in which the aggregate is farther from the honest mean than ordinary rows can bring it."""
    f = max(rule.f, 1)
    for pattern in PATTERNS:
        for place in places:
            limit = most(rule, pattern, place, f)
            for dtype in dtypes:
                good = honest(f).astype(dtype)
                for size in sizes(dtype):
                    value = result(rule, mixed(good, hostile(pattern, f, size, dtype), place))
                    assert np.isfinite(value).all(), (pattern, dtype, place, size)
                    if limit is not None and off(value, good) > 1.3 * limit + 0.2:
                        yield pattern, dtype, place, size, off(value, good)


@pytest.mark.parametrize("rule", CATALOGUE, ids=str)
def test_huge_rows_do_no_more_than_ordinary_ones(rule):
    assert not list(bends(rule, ("float64", "float32"), ("amid",), lambda dtype: HUGE[dtype][-2:]))


@pytest.mark.slow
@pytest.mark.parametrize("rule", list(magnitudes.catalogue(magnitudes.CHAINS)), ids=str)
def test_rows_of_every_size_in_every_place_do_no_more_than_ordinary_ones(rule):
    assert not list(bends(rule, ("float64", "float32", "float16"), PLACES))


MIXING = ["krum", "geometric-median", "caf", "dnc", "centered-clipping", "arc+trimmed-mean", "nnm+geometric-median", "bulyan"]


@pytest.mark.parametrize("kernel", ["numpy", "torch", "torch without float64"])
@pytest.mark.parametrize("name", MIXING)
def test_the_other_kernels_do_no_more_either(name, kernel, monkeypatch):
    rule = rules.parse(name, f=2)
    dtype = "float32" if "without" in kernel else "float64"
    expected = [list(bends(rule, (dtype,), ("amid",), lambda dtype: HUGE[dtype][-2:]))]
    if kernel == "numpy":
        monkeypatch.setattr(compiled, "AVAILABLE", False)
        assert [list(bends(rule, (dtype,), ("amid",), lambda dtype: HUGE[dtype][-2:]))] == expected == [[]]
        return
    through_torch(monkeypatch, without_float64="without" in kernel)
    good, limit = honest(2).astype(dtype), most(rule, "opposite", "amid", 2)
    for size in HUGE[dtype][-2:]:
        value = rule(torch.from_numpy(mixed(good, hostile("opposite", 2, size, dtype), "amid")))
        assert off(value.numpy(), good) <= 1.3 * limit + 0.2


@pytest.mark.parametrize("size", [1e200, 1.79e308])
@pytest.mark.parametrize("name", MIXING)
def test_a_model_of_several_layers_far_from_zero_is_moved_as_little(name, size):
    rule, good = rules.parse(name, f=2), honest(2)
    X = mixed(good, hostile("opposite", 2, size, "float64"), "amid")
    origin = np.random.default_rng(9).normal(size=X.shape[1])
    with np.errstate(over="ignore"):
        rows = np.clip(X + origin, -np.finfo(float).max, np.finfo(float).max)
    blocks = [Block([row[part] for row in rows], origin[part]) for part in (slice(0, 7), slice(7, 7), slice(7, None))]
    moved = np.concatenate(run(rule, Updates(blocks)).blocks) - origin
    assert off(moved, good) <= 1.3 * most(rule, "opposite", "amid", 2) + 0.2


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e-90, 1e90, 1e200, 1e305])
@pytest.mark.parametrize("name", [*MIXING[:4], "nnm+trimmed-mean", "cge", "monna", "mda", "smea", "clippedclustering"])
def test_the_unit_in_which_the_model_is_written_changes_nothing(name, scale):
    """Also where all squares over- or underflow, of which no rule must lose sight."""
    rule, good = rules.parse(name, f=2, **({"trusted": None} if name == "monna" else {})), honest(2)
    X = mixed(good, PATTERNS["apart"](2, 30.0), "last")
    rounding = 1e-7 if scale > 1e-300 else 1e-2  # denormals have few digits
    np.testing.assert_allclose(rule(scale * X) / scale, rule(X), rtol=rounding, atol=rounding)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiny_rows_are_told_apart_beside_ordinary_ones(dtype):
    """Honest updates whose squares underflow in the row's own type, and two rows that are far in comparison."""
    good = (1e-26 * honest(2)[::-1]).astype(dtype)  # Krum's row is not the first
    X = mixed(np.tile(good, (1, 2000)), np.ones((2, 2000 * good.shape[1]), dtype), "first")
    for rule in (rules.Krum(f=2), rules.GeometricMedian(f=2), rules.chain(rules.NNM(f=2), rules.Krum(f=2))):
        np.testing.assert_allclose(1e26 * rule(X).astype(np.float64), rule(1e26 * X.astype(np.float64)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [5e-324, -5e-324, 1e-310, 0.0, -0.0])
@pytest.mark.parametrize("rule", CATALOGUE, ids=str)
def test_rows_of_denormals_do_no_more_than_small_rows_and_zeros(rule, value):
    f = max(rule.f, 1)
    good = honest(f)
    entries = (value, 0.0, 1e-12 * np.sign(value))
    if not withstands(rule):
        pytest.skip("one row may own it")
    found, *others = (off(result(rule, mixed(good, np.full((f, good.shape[1]), entry), "amid")), good) for entry in entries)
    assert found < 1.01 * max(others) + 0.01


@pytest.mark.parametrize("rule", CATALOGUE, ids=str)
def test_weights_scores_and_influence_are_finite(rule):
    f = max(rule.f, 1)
    X = mixed(honest(f), hostile("signs", f, 1.79e308, "float64"), "amid")
    found = rule.aggregate(X, **magnitudes.keywords(rule, X))
    for values in (found.weights, found.scores, found.influence):
        assert values is None or np.isfinite(values).all()
    assert math.isclose(found.influence.sum(), 1.0)


@pytest.mark.parametrize("rule", [rules.CenteredClipping(), rules.ClippedClustering(), rules.FoolsGold()], ids=str)
def test_a_state_stays_finite_over_rounds_of_huge_rows(rule):
    X, state = mixed(honest(2), hostile("signs", 2, 1.79e308, "float64"), "amid"), rule.init(40)
    for _ in range(4):
        value, state = rule.step(X, state)
        assert np.isfinite(value).all()
        assert all(np.isfinite(array).all() for array in state.arrays.values())


def test_flames_noise_is_scaled_by_the_median_norm_beside_huge_rows():
    X = mixed(honest(2), hostile("signs", 2, 1.79e308, "float64"), "amid")
    noise = rules.FLAME(noise=0.1)(X) - rules.FLAME(noise=0.0)(X)
    assert 0.07 < noise.std() / np.sort(np.linalg.norm(honest(2), axis=1))[6] < 0.14


def weiszfeld(X, steps=3000):
    """The geometric median by plain iterations in extended precision and range, from the median of each coordinate."""
    X = X.astype(np.longdouble)
    y = np.median(X, axis=0)
    for _ in range(steps):
        weights = 1 / np.sqrt(((X - y) ** 2).sum(axis=1))
        y = weights @ X / weights.sum()
    return y


@pytest.mark.skipif(np.finfo(np.longdouble).maxexp < 10_000, reason="no numbers with a wider range here")
@pytest.mark.parametrize("pattern", ["same", "apart", "of_many_sizes", "one_and_copies"])
@pytest.mark.parametrize("f", [1, 4, 6])
def test_the_geometric_median_is_the_geometric_median_whatever_the_attackers_size(f, pattern):
    good = honest(f)
    spread = np.sqrt(((good - good.mean(axis=0)) ** 2).sum(axis=1).mean())
    for size in (1.0, 1e3, 3e7, 1e12, 1e38, 1e154, 1e300):
        X = mixed(good, PATTERNS[pattern](f, size * spread), "first")
        found, exact = rules.GeometricMedian(f=f)(X), weiszfeld(X)
        assert np.sqrt(float(((found - exact) ** 2).sum())) < 1e-3 * spread, size
        assert off(found, good) ** 2 <= rules.GeometricMedian(f=f).kappa(13)


MEMORY = """
import resource, sys, threading, time
import numpy as np
from flwr_byzantine import rules
n, d, rule = 24, 1_000_000, rules.parse(sys.argv[1], f=2)
rule(np.zeros((n, 1000)) + np.arange(n)[:, None] * 1e200)  # warm the libraries up
X = np.random.default_rng(0).normal(size=(n, d))
X[5] = 1e300
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
peak, done, before = [0], [], rss()
def watch():
    while not done:
        peak[0] = max(peak[0], rss())
        time.sleep(0.0005)
watcher = threading.Thread(target=watch); watcher.start()
value = rule(X)
done.append(1); watcher.join()
assert np.isfinite(value).all()
print((peak[0] - before) / X.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["krum", "geometric-median", "nnm+trimmed-mean"])
def test_one_huge_row_costs_no_copy_of_all_rows(name):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", MEMORY, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) <= 0.10


@pytest.mark.parametrize("size", [1e3, 1e20, 1e75, 3e75, 1e76, 1e150, 1e300])
@pytest.mark.parametrize("rule", [rules.Mean(), rules.Krum(f=1), rules.GeometricMedian(f=1)], ids=str)
def test_what_a_detector_cuts_to_a_length_has_that_length(rule, size):
    X = np.random.default_rng(0).normal(1.0, 0.1, size=(9, 6))
    X[:2] = size
    answer = rules.chain(rules.ZenoPlusPlus(f=rule.f), rule)(X, trusted=np.ones(6))
    assert np.linalg.norm(answer) <= np.sqrt(6) * (1 + 1e-9)
