"""What rules take as rows and parameters, and the one clear sentence that they answer anything else with."""

import numpy as np
import pytest
import torch

from flwr_byzantine import errors, rules
from flwr_byzantine.arrays.geometry import sq_distances
from flwr_byzantine.arrays.wrap import wrap
from tests.support.rules import data


@pytest.mark.parametrize("ratio", [1e3, 1e5])
def test_distances_are_right_far_from_the_origin(ratio):
    X = data(d=1000) + ratio * np.sign(data(1, 1000, seed=9))
    expected = ((X[:, None] - X[None]) ** 2).sum(-1)
    updates, _ = wrap(X)
    measured = sq_distances(updates.gram(centred=True))
    off = ~np.eye(13, dtype=bool)
    np.testing.assert_allclose(measured[off], expected[off], rtol=1e-6)


def test_a_row_at_the_float32_maximum_leaves_the_distances_of_the_others():
    X = data(dtype=np.float32)
    plain = rules.Krum(f=2).aggregate(X[:-1]).selected
    X[-1] = np.finfo(np.float32).max
    assert rules.Krum(f=3).aggregate(X).selected == plain


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rules.Krum(f=-1), "Krum: f must be an integer >= 0, got -1"),
        (lambda: rules.Krum(f=1.5), "Krum: f must be an integer >= 0, got 1.5"),
        (lambda: rules.Krum(f=True), "Krum: f must be an integer >= 0, got True"),
        (lambda: rules.MultiKrum(f=1, m=0), "MultiKrum: m must be an integer >= 1 or None, got 0"),
        (lambda: rules.get("krumm"), "unknown rule 'krumm'; did you mean 'Krum'\\? choose one of: .*Krum, "),
        (lambda: rules.chain(rules.Krum(f=1), rules.Median()), "aggregates to one row, so nothing can follow it"),
        (lambda: rules.chain(rules.NNM(f=1), rules.NNM(f=1)), "end with an aggregation rule"),
        (lambda: rules.NNM(f=1)(data()), "only pre-aggregates"),
        (lambda: rules.chain(), "chain needs rules"),
        (lambda: rules.Krum(f=0)([]), "expected at least one update, got none"),
        (lambda: rules.Krum(f=0)(np.zeros(4)), r"must be an \(n, d\) array, got shape \(4,\)"),
        (lambda: rules.Krum(f=0)([np.zeros(4), np.zeros(5), np.zeros(4)]), r"got shape \(4,\) in row 0 and \(5,\) in row 1"),
        (lambda: rules.Krum(f=0)(np.zeros((4, 3), complex)), "must be real numbers"),
    ],
)
def test_mistakes_get_one_clear_sentence(make, message):
    with pytest.raises(errors.ByzantineError, match=message) as caught:
        make()
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ([np.ones((3, 2)), np.ones(4)], "a list in row 0"),
        (np.ones((3, 2)), r"shape \(3, 2\) in row 0"),
        ({"a": np.ones(3)}, "a dict in row 0"),
        (torch.eye(3).to_sparse(), r"shape \(3, 3\) in row 0"),
    ],
    ids=["weights", "matrix", "state_dict", "sparse"],
)
def test_models_that_are_no_vectors_get_one_sentence_that_says_how_to_flatten_them(model, given):
    with pytest.raises(errors.MalformedUpdate, match=rf"{given}; flatten each model: np\.concatenate"):
        rules.Median(f=1).aggregate([model] * 7)


def test_sparse_vectors_are_vectors():
    rows = [torch.tensor([0.0, k, 0.0]) for k in range(7)]
    np.testing.assert_array_equal(rules.Median(f=1)([row.to_sparse() for row in rows]), rules.Median(f=1)(rows))


def test_numpy_integers_are_integers():
    assert type(rules.Krum(f=np.int64(2)).f) is int


PRE = [rules.NNM(f=2), rules.FoundationFL(m=3), rules.ARC(f=2), rules.Clipping(radius=0.5), rules.Bucketing(s=3)]


@pytest.mark.parametrize("rule", PRE, ids=str)
def test_a_pre_aggregation_alone_gives_the_rows_that_a_chain_aggregates(rule):
    X = data(11)
    mixed = rule.transform(X)
    assert mixed.shape == (rule.rows(11), X.shape[1])
    np.testing.assert_allclose(rules.chain(rule, rules.Median())(X), rules.Median()(mixed), atol=1e-12)
    np.testing.assert_array_equal(X, data(11))
    tensor = rule.transform(torch.from_numpy(X).float())
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor.numpy(), mixed, rtol=1e-5, atol=1e-5)


def test_a_pre_aggregation_alone_keeps_the_order_of_the_rows_and_leaves_out_what_is_not_finite():
    X = data(11)
    X[4] = np.nan
    mixed = rules.NNM(f=2).transform(X)
    assert mixed.shape == (10, X.shape[1])
    order = np.random.default_rng(3).permutation(10)
    usable = np.delete(X, 4, axis=0)
    np.testing.assert_array_equal(rules.NNM(f=2).transform(usable[order]), mixed[order])
    with pytest.raises(errors.TooFewUpdates, match=r"NNM\(f=2\) needs at least 5 updates, got 4"):
        rules.NNM(f=2).transform(X[:4])
    with pytest.raises(errors.MalformedUpdate, match=r"row 4 \(of 1 such\) is not finite; Clipping\(.*\) can leave out 0"):
        rules.Clipping().transform(X)


def test_the_servers_own_update_has_two_names():
    X, own = data(5), np.ones(data(5).shape[1])
    rule = rules.FLTrust()
    expected = rule(X, trusted=own)
    np.testing.assert_array_equal(rule(X, reference=own), expected)
    np.testing.assert_array_equal(rule.aggregate(X, reference=own).value, expected)
    np.testing.assert_array_equal(rule.step(X, rule.init(X.shape[1]), reference=own)[0], expected)
    np.testing.assert_array_equal(rule.step(X, rule.init(X.shape[1]), trusted=own)[0], expected)
    np.testing.assert_array_equal(rules.chain(rules.NNM(f=1), rule)(X, trusted=own), rules.chain(rules.NNM(f=1), rule)(X, reference=own))
    with pytest.raises(errors.InvalidParameter, match="trusted= and reference= are two names of one vector"):
        rule(X, trusted=own, reference=own)
    with pytest.raises(errors.InvalidParameter, match="pass it as trusted=, a vector like the updates"):
        rule(X)
    with pytest.raises(errors.MalformedUpdate, match="trusted must be a finite vector of"):
        rule(X, trusted=own[:2])


@pytest.mark.parametrize("run", [rules.Median(), rules.Krum(f=1), rules.chain(rules.NNM(f=1), rules.Median()), rules.NNM(f=1).transform])
def test_rows_of_which_none_is_finite_are_refused_by_name(run):
    with pytest.raises(errors.MalformedUpdate, match=r"row 0 \(of 5 such\) is not finite"):
        run(np.full((5, 2), np.nan))
