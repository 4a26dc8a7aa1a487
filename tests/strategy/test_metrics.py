"""Metrics and weights that no minority of clients can bend."""

import math
from logging import WARNING

import numpy as np
import pytest

from flwr_byzantine import InvalidParameter, rules
from flwr_byzantine.arrays.wrap import wrap
from flwr_byzantine.flower.replies import Reply
from flwr_byzantine.rules.pipeline import run
from flwr_byzantine.rules.server import Server
from flwr_byzantine.strategy.metrics import aggregate_metrics, finite_numbers, reported_noise, robust_metrics
from flwr_byzantine.strategy.weighting import capped


def test_metrics_are_the_median_of_a_majority():
    odd = [{"a": 1.0, "b": [1.0, 5.0], "n": 4}, {"a": 2, "b": [3.0, 1.0]}, {"a": 9e9, "b": 7.0}, {"a": math.nan, "b": [2.0, 2.0], "c": 1.0}]
    assert robust_metrics(odd, "n") == {"a": 2.0, "b": [2.0, 2.0]}
    assert robust_metrics([{"a": 1.0}, {}], "n") == {}
    assert robust_metrics([{"a": 1.0}, {"a": 2.0}, {}], "n") == {"a": 1.5}
    assert robust_metrics([{"a": []}, {"a": []}], "n") == {}
    assert robust_metrics([{"a": [1.0]}, {"a": [3.0]}, {"a": 1.0}], "n") == {"a": [2.0]}
    assert robust_metrics([], "n") == {}


def test_what_no_majority_reports_is_not_even_looked_at():
    class Values(list):
        def __iter__(self):
            raise AssertionError("read")

    assert robust_metrics([{"a": 1.0, "b": Values([1.0])}, {"a": 2.0}, {"a": 3.0}], "n") == {"a": 2.0}


def test_numbers_are_finite_and_no_truth_values():
    assert finite_numbers(3) == [3.0]
    assert finite_numbers([1, 2.5]) == [1.0, 2.5]
    assert [finite_numbers(value) for value in (True, "1", None, math.inf, [1, math.nan], [True], 10**400, [1, "a"])] == [None] * 8


def test_the_users_metrics_function_counts_and_its_error_is_logged():
    log = []
    reply = Reply(1, metrics={"loss": 1.0, "num-examples": 3})
    assert aggregate_metrics([reply], "num-examples", None, None) == {"loss": 1.0}
    assert aggregate_metrics([reply], "num-examples", lambda: {"own": 2}, None) == {"own": 2}
    assert aggregate_metrics([reply], "num-examples", lambda: 1 / 0, lambda *said: log.append(said)) == {}
    assert log == [(WARNING, "metrics dropped: the metrics function raised ZeroDivisionError: division by zero")]


def test_the_noise_is_what_most_clients_say():
    said = [Reply(k, metrics={"gradient-noise": value}) for k, value in enumerate((0.5, 0.7, 9e9))]
    assert reported_noise(said) == 0.7
    assert reported_noise([*said, *[Reply(k, metrics=None) for k in range(3)]]) is None
    assert reported_noise([Reply(k, metrics={"gradient-noise": [0.5]}) for k in range(3)]) is None


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ([10, 20, 30], [10, 20, 30]),
        ([10, 20, 1000], [10, 20, 40]),
        ([10, None, 30], [10, 20, 30]),
        ([-1, 10, 10], [10, 10, 10]),
        ([math.nan, True, "many"], [1, 1, 1]),
        ([0, 0, 0], [1, 1, 1]),
        ([[5], 10, 20], [15, 10, 20]),
        ([0, 5, 5], [0, 5, 5]),
        ([1.7e308, 1.7e308, 10], [10, 10, 10]),
        ([10, 10**400, 30], [10, 20, 30]),
        ([5e-324, 5e-324, 5e-324], [1, 1, 1]),
    ],
)
def test_num_examples_count_up_to_twice_the_median(said, counts):
    X, rule = np.array([[0.0], [1.0], [2.0]]), rules.MultiKrum(f=0, m=3)
    updates, _ = wrap(X)
    out = capped(rule, updates, run(rule, updates), said)
    expected = np.array(counts) / sum(counts)
    np.testing.assert_allclose(out.weights, expected)
    np.testing.assert_allclose(out.influence, expected)
    np.testing.assert_allclose(out.blocks[0], expected @ X)


@pytest.mark.parametrize("rule", [rules.Median(), rules.GeometricMedian(), rules.FLTrust(), rules.Mean()], ids=str)
def test_only_the_average_of_a_selection_is_weighed(rule):
    updates, _ = wrap(np.array([[0.0], [1.0], [5.0]]))
    server = Server(trusted=np.ones(1))
    with pytest.raises(InvalidParameter, match="weighting='capped' needs a rule that averages a selection"):
        capped(rule, updates, run(rule, updates, None, server), [1, 1, 1])


def test_a_clipped_selection_is_not_weighed():
    updates, _ = wrap(np.array([[4.0, 0.0], [1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]]))
    with pytest.raises(InvalidParameter, match="averages a selection"):
        capped(rules.ClippedClustering(), updates, run(rules.ClippedClustering(), updates), [1] * 4)
