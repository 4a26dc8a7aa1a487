"""Blocks with a scale: rules compare scaled rows and combine the plain ones."""

import numpy as np
import pytest

from flwr_byzantine import rules
from flwr_byzantine.arrays.block import Block
from flwr_byzantine.arrays.updates import Updates
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.server import Server
from tests.support.rules import RULES, F, data, trusted

SCALES = np.repeat([1.0, 2.0**7], [30, 10])  # powers of two, which round nothing


def updates(X, scale=SCALES[-1], origin=None):
    halves = [None, None] if origin is None else [origin[:30], origin[30:]]
    return Updates([Block(list(X[:, :30]), halves[0]), Block(list(X[:, 30:]), halves[1], scale)])


OWN_VALUES = (rules.SignSGD, rules.CRFL)  # signs, and a clip of the aggregate itself: what comes out is in no unit of the rows'


@pytest.mark.parametrize("rule", [*(rule for rule in RULES if not isinstance(rule, OWN_VALUES)), rules.FLAME(f=F, noise=0.01)], ids=str)
def test_every_rule_answers_as_for_scaled_rows_and_back(rule):
    X = data()
    keywords = trusted(rule, X * SCALES)
    expected = run(rule, wrap(X * SCALES)[0], server=Server(**keywords))
    found = run(rule, updates(X), server=Server(**{name: value / SCALES for name, value in keywords.items()}))
    np.testing.assert_allclose(np.concatenate(found.blocks) * SCALES, expected.blocks[0], rtol=1e-9, atol=1e-9)
    for name in ("weights", "scores"):
        if getattr(expected, name) is not None:
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-9)


def test_a_scale_decides_who_is_far():
    X = data()
    X[3, 30:] += 5
    X[7, :30] += 50
    assert run(rules.MultiKrum(f=1, m=12), updates(X)).weights[3] == 0
    assert run(rules.MultiKrum(f=1, m=12), updates(X, 1.0)).weights[7] == 0


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1e30), (np.float32, 1e4), (np.float64, 1e60)])
def test_small_blocks_count_however_small(dtype, scale):
    """Wide ones too, whose products are of float32 else."""
    X, hidden = data(9, 70_000, dtype=dtype), data(9, 70_000, seed=1)
    hidden[4] += 9
    blocks = [Block(list(X)), Block(list((hidden / scale).astype(dtype)), None, scale)]
    assert run(rules.MultiKrum(f=1, m=8), Updates(blocks)).weights[4] == 0
    assert run(rules.CGE(f=1), Updates(blocks)).weights[4] == 0


@pytest.mark.parametrize("size", [1e30, 1e150, 1e300])
@pytest.mark.parametrize("rule", ["krum", "cge", "geometric-median", "nnm+trimmed-mean", "centered-clipping"])
def test_hostile_sizes_under_a_scale_stay_powerless(rule, size):
    X = data()
    X[[1, 5], 30:] = size
    with np.errstate(over="raise", invalid="raise"):
        found = np.concatenate(run(rules.parse(rule, F), updates(X, 1e20)).blocks)
    assert np.abs(found).max() < 10


def test_deltas_not_values_are_scaled():
    X, origin = data(), np.full(40, 100.0)
    plain = run(rules.CGE(f=F), updates(X))
    moved = run(rules.CGE(f=F), updates(X + origin, origin=origin))
    np.testing.assert_allclose(moved.scores, plain.scores)
    assert moved.selected == plain.selected


def test_scaled_values_are_finite_however_large_they_were():
    updates = Updates([Block([np.array([1e300, 1.0])], None, 1e20)])
    assert updates.at(np.arange(2)).tolist() == [[np.finfo(float).max, 1e20]]
