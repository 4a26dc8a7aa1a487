"""The names of what is trained, for each framework's models, are those that the model has in Flower."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord

from flwr_byzantine import InvalidParameter, Robust, rules, trained_names
from flwr_byzantine.strategy.roles import decide
from tests.support.batchnorm import federate, network, start

ONES = np.ones(3, np.float32)


def test_torch_without_buffers_and_frozen_parameters():
    model = network()
    assert trained_names(model) == ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"]
    model[0].requires_grad_(requires_grad=False)
    names = trained_names(model)
    assert names == ["1.weight", "1.bias", "3.weight", "3.bias"]
    roles = decide(start(), names)
    assert roles.judged(roles.sizes) == names
    assert roles.kinds["0.weight"] == "unjudged"


def test_tied_weights_have_both_of_their_names():
    model = torch.nn.ModuleDict({"embed": torch.nn.Embedding(4, 2), "head": torch.nn.Linear(2, 4, bias=False)})
    model["head"].weight = model["embed"].weight
    assert trained_names(model) == list(ArrayRecord(model.state_dict())) == ["embed.weight", "head.weight"]


def test_keras_positions_in_both_apis():
    weights = [object() for _ in range(6)]  # kernel, gamma, beta, moving mean, moving variance, bias
    model = SimpleNamespace(weights=weights, get_weights=list, trainable_weights=[weights[5], weights[0], weights[1], weights[2]])
    names = trained_names(model)
    assert names == ["0", "1", "2", "5"]
    assert set(names) <= set(ArrayRecord([ONES] * 6))


def test_jax_trees():
    variables = {"params": {"bn": {"scale": ONES}, "Dense_0": {"kernel": ONES, "bias": ONES}}, "batch_stats": {"bn": {"mean": ONES}}}
    assert trained_names(variables) == ["params/Dense_0/bias", "params/Dense_0/kernel", "params/bn/scale"]
    assert trained_names(variables, ".") == ["params.Dense_0.bias", "params.Dense_0.kernel", "params.bn.scale"]
    assert trained_names(variables, None) == ["1", "2", "3"]
    haiku = {"mlp/~/linear_0": {"w": ONES, "b": ONES}}, {"batch_norm/~/mean_ema": {"average": ONES, "counter": np.array(1)}}
    assert trained_names(haiku) == trained_names(haiku[0]) == ["mlp/~/linear_0/b", "mlp/~/linear_0/w"]
    assert trained_names({"layers": [{"w": ONES}, {"w": ONES, "count": np.array(1)}, None]}) == ["layers/0/w", "layers/1/w"]


@pytest.mark.parametrize(
    "model", [3, [ONES], {}, torch.nn.ReLU(), {"count": np.array(1)}], ids=["number", "list", "empty", "relu", "counter"]
)
def test_what_has_nothing_to_train_is_refused(model):
    with pytest.raises(InvalidParameter, match="trained_names: expected"):
        trained_names(model)


def test_a_run_judges_what_they_name():
    strategy = Robust(rules.Median(f=2), judge=trained_names(network()))
    assert np.abs(federate(strategy, rounds=1, epochs=1)["1.running_mean"]).max() > 0
    assert strategy.core.state.judged == trained_names(network())
