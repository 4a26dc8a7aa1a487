"""State may grow: PyTorch's per-channel observers are empty, and their scales single, before the first batch."""

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg, FedAvgM

from flwr_byzantine import InvalidParameter, Robust, rules
from flwr_byzantine.strategy.carried import carried
from flwr_byzantine.strategy.roles import decide
from tests.support.batchnorm import BAD, EVERYONE, F, federate

MIN, SCALE, STEPS = "fc.weight_fake_quant.activation_post_process.min_val", "fc.weight_fake_quant.scale", "steps"
MODEL = {"fc.weight": np.zeros(10, np.float32), MIN: np.zeros(0, np.float32), SCALE: np.ones(1, np.float32), STEPS: np.array(0)}


def over(inner=FedAvg, rule=None, **policy):
    return Robust(rule or rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F)), inner(**EVERYONE), **policy)


def honest(node):
    return {MIN: np.full(3, -1 - 0.01 * node, np.float32), SCALE: np.full(3, 0.1, np.float32)}


def answering(state):
    """Honest weights, and three channels of state; `state` says the attackers'."""
    return lambda got, node: {"fc.weight": got["fc.weight"] + 1, **(state if node in BAD else honest(node)), STEPS: got[STEPS] + 1}


HOSTILE = {
    "never grew": {MIN: MODEL[MIN], SCALE: MODEL[SCALE]},
    "of another size": {MIN: np.full(5, 1e30, np.float32), SCALE: np.full(2, 1e30, np.float32)},
    "huge": {MIN: np.full(3, 1e30, np.float32), SCALE: np.full(3, -1e30, np.float32)},
}


@pytest.mark.parametrize("inner", [FedAvg, FedAvgM])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_state_gets_the_size_and_the_values_of_the_honest_ones(hostile, inner):
    strategy = over(inner)
    found = federate(strategy, reply=answering(HOSTILE[hostile]), model=MODEL, rounds=3)
    assert not [report for report in strategy.reports if report.with_status("invalid")]
    np.testing.assert_allclose(found["fc.weight"], 3, rtol=1e-6)
    assert found[MIN].shape == found[SCALE].shape == (3,)
    assert -1.11 <= found[MIN].min() <= found[MIN].max() <= -1.01
    np.testing.assert_allclose(found[SCALE], 0.1)
    assert found[STEPS] == 3


def test_state_that_some_have_grown_stays_as_it_was_until_most_have():
    few = federate(over(), reply=lambda got, node: answering({})({**got}, node) if node < 5 else got, model=MODEL, rounds=1)
    assert few[MIN].shape == (0,)
    assert few[SCALE].tolist() == [1]


@pytest.mark.parametrize(
    "spoilt", [{"fc.weight": np.zeros(9, np.float32)}, {MIN: np.zeros((3, 1), np.float32)}, {MIN: np.full(3, np.inf, np.float32)}], ids=str
)
def test_neither_weights_nor_dimensions_nor_infinities_may(spoilt):
    strategy = over()
    answer = answering(honest(1))
    federate(strategy, reply=lambda got, node: {**answer(got, node), **(spoilt if node in BAD else {})}, model=MODEL, rounds=1)
    assert strategy.reports[0].with_status("invalid") == list(BAD)


def test_a_run_whose_state_has_grown_goes_on_from_its_checkpoint(tmp_path):
    def run(path, rounds, model=MODEL):
        strategy = over(rule=rules.CenteredClipping(f=F), checkpoint=tmp_path / path, resume=True)
        return federate(strategy, reply=answering(HOSTILE["huge"]), model=model, rounds=rounds)

    run("a", 2)
    resumed, whole = run("a", 4), run("b", 4)
    assert all(np.array_equal(resumed[name], whole[name]) for name in whole)
    with pytest.raises(InvalidParameter, match=r"of another model: array 'fc\.weight' is"):
        run("a", 5, {**MODEL, "fc.weight": np.zeros(9, np.float32)})


def test_sizes_are_the_majority_s():
    short, long = [np.zeros(1)] * 2, [np.ones(2), np.full(2, 3.0), np.full(2, 9.0)]
    assert carried([*short, *long], np.zeros(1), 1).tolist() == [3, 3]
    assert carried([*short, *long[:2]], np.full(1, 7.0), 1).tolist() == [7]  # as many of each: as it was


def test_empty_arrays_decide_nothing():
    roles = decide({"w": np.ones(2), "seen": np.ones(0)}, "trained")
    assert str(roles) == "judged 1 array, 2 values; state: 1 empty array"


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1), [1, 3, 0, 2]], ids=["as it is", "reversed", "mixed"])
def test_where_the_broadcast_is_not_finite_zeros_and_nan_have_one_sign(order):
    rows = np.array(
        [[0.0, -0.0, -np.inf, np.nan], [-0.0, -0.0, -np.inf, -np.nan], [-0.0, 0.0, np.inf, -np.nan], [0.0, -0.0, np.inf, np.nan]]
    )
    found = carried(list(rows[order]), np.full(4, np.inf), 1)
    np.testing.assert_array_equal(found, [0.0, 0.0, np.nan, np.nan])
    assert not np.signbit(found).any()
