"""Masks, observers, counters, truth values, complex and infinite values: they decide nothing, and no reply is invalid for them."""

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM

import flwr_byzantine as ours
from flwr_byzantine import ByzantineSGD, InvalidParameter, rules
from tests.support.batchnorm import BAD, EVERYONE, NNM, F, federate, legacy_federate, legacy_over, over, rejected, same
from tests.support.roles import MASK, ODD, RULES, toy

EXPECTED = {
    "a mask": MASK, "a fresh observer": -1.56, "an observer that some have used": -np.inf, "not a number": 2,
    "booleans": np.tril(np.ones((3, 3))), "integers": [5, 6],
}  # fmt: skip


@pytest.mark.parametrize("rule", ["krum", "geometric-median", "nnm+trimmed-mean", "median"])
@pytest.mark.parametrize("kind", ODD)
def test_what_is_not_finite_or_no_float_decides_nothing_and_makes_no_reply_invalid(kind, rule):
    buffer, answer = ODD[kind]
    strategy = over(RULES[rule])
    found = toy(strategy, buffer, answer)
    assert not any(report.with_status("invalid") for report in strategy.reports)
    np.testing.assert_allclose(found["w"], 2, atol=0.3)
    np.testing.assert_allclose(found["extra"], EXPECTED[kind], atol=0.02)
    assert found["extra"].dtype == np.asarray(buffer).dtype
    older = legacy_over(RULES[rule], model={"w": np.zeros(10, np.float32), "extra": buffer})
    assert same(toy(older, buffer, answer, legacy_federate), {"w": found["w"]})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_only_what_was_broadcast_may_be_infinite(value):
    strategy = over(RULES["median"])
    toy(strategy, MASK, lambda node: np.where(MASK == 0, np.float32(0), np.float32(value)) if node in BAD else MASK, rounds=1)
    assert strategy.reports[0].with_status("invalid") == list(BAD)


def padded(strategy, padding):
    """A run whose bias holds these values at first; clients send anything in their place."""

    def answer(got, node):
        bias = got["bias"] + np.float32(-900 if node in BAD else 1 + 0.01 * node)
        bias[list(padding)] = (-np.inf, 5.0, np.nan, 1e30)[node % 4]
        return {"w": got["w"] + np.float32(1 + 0.01 * node), "bias": bias}

    model = {"w": np.zeros(10, np.float32), "bias": np.zeros(20, np.float32)}
    for place, value in padding.items():
        model["bias"][place] = value
    return federate(strategy, reply=answer, model=model, rounds=3)


@pytest.mark.parametrize("inner", [FedAdam, FedAvgM, FedAvg])
@pytest.mark.parametrize("rule", ["krum", "cge", "geometric-median", "nnm+trimmed-mean", "centered-clipping"])
def test_a_few_infinite_values_stay_and_the_others_of_their_array_are_judged(rule, inner, tmp_path):
    """A bias of -inf for a padding token: whatever is sent there, the model is the one without it."""
    strategy, plain = over(rules.parse(rule, F), inner, spill=tmp_path), over(rules.parse(rule, F), inner)
    found, expected = padded(strategy, {3: -np.inf, 7: np.nan}), padded(plain, {})
    assert not any(report.with_status("invalid") for report in strategy.reports)
    assert found["bias"][3] == -np.inf
    assert np.isnan(found["bias"][7])
    others = np.setdiff1d(np.arange(20), [3, 7])
    if rule == "krum":
        assert rejected(strategy) == rejected(plain)
    if rule in ("krum", "nnm+trimmed-mean"):
        np.testing.assert_allclose(found["bias"][others], expected["bias"][others], rtol=1e-5)
    assert np.isfinite(found["bias"][others]).all()


@pytest.mark.parametrize("inner", [FedAdam, FedAvg])
def test_optimisers_over_infinite_and_boolean_state_make_no_noise(inner):
    for kind in ("a mask", "a fresh observer", "booleans"):
        found = toy(over(NNM, inner), *ODD[kind], rounds=3)
        assert np.isfinite(found["w"]).all()
        np.testing.assert_allclose(found["extra"], EXPECTED[kind], atol=0.02)


def test_complex_weights_are_judged_as_pairs():
    strategy = over(RULES["krum"])
    goal = np.array([1 + 2j, -1j, 3], np.complex64)
    found = toy(strategy, np.zeros(3, np.complex64), lambda node: goal + np.complex64(0.01 * node) * (-9e5 if node in BAD else 1), rounds=1)
    assert found["extra"].dtype == np.complex64
    np.testing.assert_allclose(found["extra"], goal, atol=0.2)


def test_an_optimiser_that_diverges_ends_the_run_with_the_array_s_name():
    class Diverges(FedAvg):
        def aggregate_train(self, server_round, replies):
            arrays, metrics = super().aggregate_train(server_round, replies)
            arrays["w"] = type(arrays["w"])(np.full(10, np.nan, np.float32))
            return arrays, metrics

    with pytest.raises(InvalidParameter, match="array 'w' of the model is not finite any more"):
        toy(over(NNM, Diverges), *ODD["integers"])


def test_complex_values_that_are_infinite_in_one_half_stay():
    model = {"w": np.zeros(10, np.float32), "c": np.zeros(20, np.complex64)}
    model["c"][0] = -np.inf
    strategy = over(RULES["median"])
    found = federate(strategy, reply=lambda got, node: {"w": got["w"] + 1, "c": got["c"] + np.complex64(1j)}, model=model, rounds=3)
    assert found["c"][0].real == -np.inf
    np.testing.assert_allclose(found["c"][1:], 3j)


def test_the_rule_s_own_state_and_the_roles_go_on_from_the_checkpoint(tmp_path):
    """An observer that was infinite in the first round only stays state, or the rule's vectors would not fit."""
    buffer, answer = ODD["a fresh observer"]
    model = {"w": np.zeros(10, np.float32), "extra": buffer}

    def made(path):
        return over(rules.CenteredClipping(f=F), checkpoint=path, resume=True)

    def run(path, rounds):
        return toy(made(path), model["extra"], answer, rounds=rounds)

    run(tmp_path / "a", 2)
    assert same(run(tmp_path / "a", 4), run(tmp_path / "b", 4))


def test_a_trusted_update_is_of_the_judged_arrays():
    def train(server_round, arrays):
        return {name: array.numpy() + np.float32(1) if name == "w" else array.numpy() for name, array in arrays.items()}

    strategy = ours.FLTrust(server_update=train, **EVERYONE)
    found = toy(strategy, *ODD["booleans"], rounds=1)
    np.testing.assert_allclose(found["w"], 1, atol=0.01)


def test_gradients_leave_state_as_it_was_broadcast():
    strategy = ByzantineSGD(RULES["median"], step_size=0.1, momentum=0.9, strategy=FedAvg(**EVERYONE))
    found = toy(strategy, np.array([7], np.int64), lambda node: np.array([5], np.int64), rounds=2)
    assert found["extra"].tolist() == [7]
    assert len(strategy.descent.velocity) == 1
