"""The values that ByzFL 0.0.11 and Flower 1.41 publish with their documentation and unit tests, against ours.

Where conventions agree the values agree. Where they do not, `rules/CONVENTIONS.md` has a row, and here or in
`tests.support.byzfl_conventions` is its test: what we give, what they give, and the argument that gives theirs.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, RecordDict

from flwr_byzantine import attacks, rules, strategy
from flwr_byzantine.flower.compat import aggregation
from flwr_byzantine.rules.coordinatewise import NearestMedian
from flwr_byzantine.rules.weighted import simplex
from tests.support import byzfl_conventions
from tests.support.byzfl_conventions import LOW, MEAN, X, crowd, refuses

KINDS = {"array": lambda x: x, "list": list, "tensor": torch.from_numpy, "tensors": lambda x: list(torch.from_numpy(x))}

AGREED = {  # rule: ByzFL's value at X
    rules.Mean(): MEAN,
    rules.Median(): MEAN,
    rules.TrimmedMean(f=1): MEAN,
    rules.MDA(f=1): LOW,
    rules.SMEA(f=1): LOW,
    rules.MoNNA(f=1, trusted=1): LOW,
    rules.MeaMed(f=1): LOW,
    rules.CAF(f=1): MEAN,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", AGREED, ids=str)
def test_rules_give_the_values_of_byzfls_documentation(rule, kind):
    np.testing.assert_allclose(np.asarray(rule(KINDS[kind](X))), AGREED[rule], rtol=1e-12)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (rules.NNM(f=1), [[2.5, 3.5, 4.5], [2.5, 3.5, 4.5], [5.5, 6.5, 7.5]]),
        (
            rules.Clipping(radius=2.0),
            [[0.53452248, 1.06904497, 1.60356745], [0.91168461, 1.13960576, 1.36752692], [1.00514142, 1.14873305, 1.29232469]],
        ),
        (rules.ARC(f=1), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [4.41004009, 5.04004582, 5.67005155]]),
    ],
    ids=str,
)
def test_preaggregations_give_the_values_of_byzfls_documentation(rule, expected):
    np.testing.assert_allclose(rule.transform(X), expected, rtol=1e-8)


@pytest.mark.parametrize(
    ("attack", "expected"),
    [(attacks.IPM(epsilon=2.0), [-8.0, -10.0, -12.0]), (attacks.Mimic(target=0), [1.0, 2.0, 3.0]), (attacks.Inf(), [np.inf] * 3)],
    ids=str,
)
def test_attacks_give_the_values_of_byzfls_documentation(attack, expected):
    np.testing.assert_allclose(attack(X, 1)[0], expected, rtol=1e-12)


def models(*values):
    return np.array([[value] * 4 for value in values], np.float32)


@pytest.mark.parametrize(
    ("rule", "rows", "expected"),
    [
        (rules.Median(), models(0.2, 1.0, 0.5), models(0.5)[0]),
        (rules.Median(), np.array([[1.0, 0.2, 0.5, 1.0], [0.2, 0.5, 1.0, 0.2], [0.5, 1.0, 0.2, 0.5]]), np.full(4, 0.5)),
        (
            rules.TrimmedMean(f=1),
            np.array([[0.5] * 4, [1.0, 0.2, 0.5, 1.0], [0.2, 0.5, 1.0, 0.2], [0.5, 1.0, 0.2, 0.5]]),
            np.full(4, 0.5),
        ),
        (rules.TrimmedMean(f=1), np.array([[0.5], [1.0], [2.0], [100.0]]), np.array([1.5])),
        (rules.Bulyan(f=0), models(0.2, 0.5, 0.7, 12.0, 0.1, 0.1), models((0.2 + 0.5 + 0.7 + 12.0 + 0.1 + 0.1) / 6)[0]),
        (NearestMedian(drop=1), np.array([[1.0], [2.0], [0.5]]), np.array([0.75])),
        (NearestMedian(drop=1), np.array([[1.1, 2.1, 0.2, 1.2], [0.9, 1.9, -0.1, 0.8], [5, 5, 10, 10]]), np.array([1.0, 2.0, 0.05, 1.0])),
        (NearestMedian(drop=0), np.array([[1.0, 2.0], [-1.0, 0.0], [3.0, 4.0]]), np.array([1.0, 2.0])),
        (NearestMedian(drop=1), np.array([[1.1, 2.1, 2.9, 3.9], [10.0] * 4, [0.9, 1.9, 3.1, 4.1]]), np.array([1.0, 2.0, 3.0, 4.0])),
        (NearestMedian(drop=1), np.full((3, 2), 5.0), np.array([5.0, 5.0])),
    ],
    ids=lambda value: str(value) if isinstance(value, rules.Rule) else "",
)
def test_rules_give_the_values_of_flowers_tests(rule, rows, expected):
    np.testing.assert_allclose(rule(rows), expected, rtol=1e-15 if rows.dtype == np.float64 else 1e-7)


def blades_autogm():
    """η from the distances as they come: its last one that is not below its distance may belong to no proper weights."""
    apart, lam = np.array([1.0, 9.0, 1.0, 1.0]), 2.0
    etas = [(apart[: p + 1].sum() + lam) / (p + 1) for p in range(4)]
    stop = next(p for p in range(4) if etas[p] < apart[p])
    theirs = np.maximum(etas[stop - 1] - apart, 0) / lam
    assert theirs.sum() > 1.5
    assert simplex(apart, lam).sum() == pytest.approx(1)


def flower_fedrdf():
    for n in (9, 10):
        rows = np.random.default_rng(n).normal(size=(n, 5))
        theirs = np.sort(rows, axis=0)[np.argmax(np.abs(np.fft.fftfreq(n)))]
        np.testing.assert_array_equal(rules.FedRDF(select="index")(rows), theirs)
        assert (rules.FedRDF()(rows) != theirs).any()


def fedml_slsgd():
    rows = np.array([[1.0], [2.0], [3.0], [90.0]])
    samples = [1, 9, 5, 3]
    theirs = rows[np.argsort(samples)[1:-1]].mean(axis=0)
    assert theirs[0] > 40
    np.testing.assert_allclose(rules.SLSGD(f=1, alpha=1.0)(rows), [2.5])


def flower_average():
    rows = np.array([[0.1], [0.2], [0.4]], np.float32)
    assert aggregation("aggregate")([([row], 1) for row in rows])[0] == np.float32(0.23333335)
    assert rules.Mean()(rows)[0] == np.float32(0.23333333)


def flower_krum():
    rows = models(0.2, 0.7, 1.0)
    refuses(rules.Krum(f=1), rows)
    np.testing.assert_array_equal(rules.Krum(f=1, neighbors="n-f-1")(rows.astype(np.float64)), models(0.7)[0])


def flower_multikrum_():
    rows = models(0.2, 0.5, 1.0)
    refuses(rules.MultiKrum(f=1, m=2), rows)
    np.testing.assert_allclose(rules.MultiKrum(f=1, m=2, neighbors="n-f-1")(rows), models(0.35)[0], rtol=1e-7)


def flower_multikrum_weights():
    rows, counts = crowd(), np.arange(1, 12)
    ours = rules.MultiKrum(f=2, m=4).aggregate(rows)
    theirs = aggregation("aggregate_krum")([([row.copy()], int(count)) for row, count in zip(rows, counts, strict=True)], 2, 4)[0]
    chosen = list(ours.selected)
    np.testing.assert_allclose(theirs, np.average(rows[chosen], axis=0, weights=counts[chosen]))
    np.testing.assert_allclose(ours.value, rows[chosen].mean(0))


def theirs_once(rows, f):
    """Flower's Message-API Bulyan by its own functions."""
    contents = [RecordDict({"arrays": ArrayRecord([row])}) for row in rows]
    theta = len(rows) - 2 * f
    selected = [content["arrays"].to_numpy_ndarrays() for content in aggregation("select_multikrum")(contents, f, theta)]
    middle = [np.median([arrays[0] for arrays in selected], axis=0)]
    return aggregation("aggregate_n_closest_weights")(middle, selected, theta - 2 * f)[0]


def flower_bulyan_once():
    differ = 0
    for seed in range(10):
        rows = crowd(seed)
        again = aggregation("aggregate_bulyan")([([row.copy()], 1) for row in rows], 2, aggregation("aggregate_krum"), to_keep=0)[0]
        np.testing.assert_allclose(rules.Bulyan(f=2)(rows), again)
        np.testing.assert_allclose(rules.Bulyan(f=2, iterated=False)(rows), theirs_once(rows, 2))
        differ += not np.allclose(again, theirs_once(rows, 2))
    assert differ > 0


def flower_trimmed_fraction():
    rule = strategy.FedTrimmedAvg(beta=0.2).core.rule
    assert [rule(n).f for n in (4, 5, 11)] == [0, 1, 2]
    rows = crowd()
    np.testing.assert_allclose(rule(11)(rows), aggregation("aggregate_trimmed_avg")([([row], 1) for row in rows], 0.2)[0])


def flower_bulyan_reference():
    values = [[np.array([1.0])], [np.array([-0.5])], [np.array([10.0])]]
    assert aggregation("aggregate_n_closest_weights")([np.array([0.0])], values, 1)[0].tolist() == [-0.5]
    assert NearestMedian(drop=2)(np.array([[1.0], [-0.5], [10.0]])).tolist() == [1.0]


def flower_nearest_ties():
    theirs, ours = [], []
    for values in ([-1.0, 0.0, 1.0], [1.0, 0.0, -1.0]):
        theirs += aggregation("aggregate_n_closest_weights")([np.array([0.0])], [[np.array([value])] for value in values], 2)[0].tolist()
        ours += NearestMedian(drop=1)(np.array(values)[:, None]).tolist()
    assert sorted(theirs) == [-0.5, 0.5]
    assert ours == [-0.5, -0.5]


PROJECTS = ("byzfl", "epfl", "flower", "blades", "fedml")
ROWS = {
    name.rstrip("_").replace("_", "-"): test
    for name, test in (vars(byzfl_conventions) | globals()).items()
    if name.split("_")[0] in PROJECTS and getattr(test, "__module__", "") in (byzfl_conventions.__name__, __name__)
}
TABLE = Path(rules.__file__).with_name("CONVENTIONS.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", ROWS)
def test_where_we_differ_it_is_as_the_table_says(row):
    ROWS[row]()


def test_every_row_of_the_table_is_tested_and_every_test_has_a_row():
    assert re.findall(r"^\| ([a-z]+-[\w-]+) \|", TABLE, re.MULTILINE) == list(ROWS)


def test_autogm_weighs_rows_that_are_all_far_away_alike():
    assert simplex(np.array([1e20, 1e20, 1e40]), 1.0).tolist() == [0.5, 0.5, 0.0]
