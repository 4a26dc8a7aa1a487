"""Which arrays of a model are judged: what users say, the frameworks' names of state, and what is carried of the rest."""

import numpy as np
import pytest
import torch
from flwr.server.strategy import FedAdam as LegacyFedAdam

from flwr_byzantine import InvalidParameter
from flwr_byzantine.strategy.carried import carried
from flwr_byzantine.strategy.roles import decide, framework_state
from flwr_byzantine.strategy.template import Template
from tests.support.batchnorm import NNM, legacy_federate, legacy_over, over, start
from tests.support.roles import ODD, toy


@pytest.mark.parametrize("judge", [["1.*"], "no.such.pattern", [99], [-1], lambda name, value: False, "extra"])
def test_a_judge_that_does_not_fit_the_model_is_refused_in_the_first_round(judge):
    with pytest.raises(InvalidParameter, match="judge"):
        toy(over(NNM, judge=judge), *ODD["booleans"], rounds=1)


@pytest.mark.parametrize(
    ("judge", "expected"),
    [("trained", "wc"), ("all", "wrnc"), (["w", "r*"], "wr"), ([0, 2], "wn"), ("[rn]", "rn"), (lambda name, value: value.ndim > 1, "w")],
    ids=["trained", "all", "patterns", "positions", "pattern", "function"],
)
def test_who_says_what_is_judged(judge, expected):
    sizes = {"w": np.ones((2, 2)), "running_mean": np.ones(2), "n": np.array(3), "c": np.ones(2, np.complex64), "mask": np.array(True)}
    short = {"running_mean": "r"}
    roles = decide({short.get(name, name): value for name, value in sizes.items()}, judge)
    judged = roles.judged(roles.sizes)
    assert "".join(judged) == expected if judge != "trained" else set(judged) >= {"w", "c"}
    assert "mask" in roles.kinds


STATE = [
    *("bn1.running_mean", "layer1.0.bn2.num_batches_tracked", "moving_mean", "batch_normalization_3/moving_variance:0", "bn.var"),
    *("batch_stats/BatchNorm_0/mean", "batch_norm/~/mean_ema/average", "batch_norm/~/var_ema.hidden", "normalization_1/variance"),
    *("bn1.mean.value", "batchnorm2d_1/mean", "spectral_normalization_1/vector_u:0", "fc.parametrizations.weight.0._u"),
    *("conv.activation_post_process.min_val", "fc.weight_fake_quant.scale", "fc.weight_fake_quantizer.scale", "observer.max_val"),
]
WEIGHTS = [
    *("0.weight", "params/BatchNorm_0/scale", "batch_normalization/gamma:0", "encoder.mean.weight", "rnn.weight_u", "observer_net.bias"),
    *("blocks.0.attn.qkv.lora_A.weight", "head.scale", "params/mean", "running.weight", "moving_average_head/kernel"),
    *("bnn1.mean", "bnn1.var"),
]


@pytest.mark.parametrize("name", [*STATE, *WEIGHTS])
def test_the_frameworks_names(name):
    assert bool(framework_state(name)) == (name in STATE)


def test_a_list_of_a_torch_model_s_arrays_shows_its_running_statistics():
    arrays = {str(place): value for place, value in enumerate(start().values())}
    assert decide(arrays, "trained").kinds == {"4": "BatchNorm", "5": "BatchNorm", "6": "integer"}
    del arrays["6"]  # without the counter nothing tells them from two biases
    assert decide(arrays, "trained").kinds == {}
    found = legacy_federate(legacy_over(NNM, LegacyFedAdam), rounds=3)
    assert found["1.running_var"].min() > 0


def test_other_vectors_before_an_integer_are_weights():
    vector, matrix, counter = np.ones(3, np.float32), np.ones((3, 3), np.float32), np.array(0)
    for arrays in ([matrix, vector, vector, counter], [matrix, vector, vector, vector, counter], [*[vector] * 3, -vector, counter]):
        assert set(decide({str(place): value for place, value in enumerate(arrays)}, "trained").kinds.values()) == {"integer"}
    layer = {str(place): value for place, value in enumerate([matrix, vector, vector, vector, vector, counter, matrix])}
    assert decide(layer, "trained", shared=["0", "1", "2", "5", "6"]).kinds == {"5": "integer"}  # mean and variance stay at home
    assert decide(layer, "trained").kinds == {"3": "BatchNorm", "4": "BatchNorm", "5": "integer"}


def test_spectral_normalisation_of_either_kind_is_no_weight():
    layer = torch.nn.utils.spectral_norm(torch.nn.Linear(3, 2))
    for module in (layer, torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(3, 2))):
        arrays = {name: value.numpy() for name, value in torch.nn.Sequential(module).state_dict().items()}
        roles = decide(arrays, "trained")
        assert set(roles.kinds.values()) == {"power iteration"}
        assert [arrays[name].size for name in roles.judged(arrays)] == [2, 6]


def test_a_model_of_integers_is_judged_by_these():
    assert decide({"a": np.ones(3, np.int8), "b": np.ones(2, np.int8)}, "trained").kinds == {}


def test_without_state_nothing_is_different():
    template = Template({"a": np.ones(3), "b": np.ones((2, 2), np.float32)})
    assert template.roles == decide({"a": np.ones(3), "b": np.ones((2, 2))}, "trained")


def test_values_of_state_lie_among_the_honest_ones():
    rows = [np.array([value, 10 * value]) for value in (1.0, 2.0, 3.0, 1e300, -1e300)]
    assert carried(rows, np.zeros(2), 2).tolist() == [2.0, 20.0]
    assert carried(rows, np.zeros(2), 1).tolist() == [2.0, 20.0]
    assert carried(rows, np.zeros(2), 0).tolist() == [2.0, 20.0]
    counters = [np.array([value], np.int64) for value in (4, 5, 8, 2**62, -(2**62))]
    assert carried(counters, counters[0], 1).tolist() == [6]
    votes = [np.array([True, True, False])] * 2 + [np.array([False, True, False])] * 2
    assert carried(votes, np.array([True, False, False]), 1).tolist() == [True, True, False]
