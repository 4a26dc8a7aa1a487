"""Real models of Keras, Flax, Haiku and PEFT: what of them is trained. A process of its own for each, whose errors are its exit code."""

import os
import sys

import numpy as np
from flwr.app import ArrayRecord

from flwr_byzantine import Robust, rules, trained_names
from flwr_byzantine.strategy.roles import decide
from tests.support.batchnorm import federate


def moved(before, after):
    """Names of the arrays that training has changed."""
    return [name for name in before if not np.array_equal(before[name], after[name])]


def listed(arrays):
    return {str(place): np.asarray(array) for place, array in enumerate(arrays)}


def keras():
    """On Keras' torch backend a model is a torch module too, whose parameters have other names."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    from keras import layers

    fixed, known = layers.Dense(3, trainable=False, name="fixed"), layers.Normalization()
    known.adapt(np.random.default_rng(0).random((10, 8)))
    inner = keras.Sequential([layers.Dense(4), layers.BatchNormalization(), layers.Dropout(0.2)])
    wrapped = layers.SpectralNormalization(layers.Dense(2))
    model = keras.Sequential([keras.Input((8,)), known, inner, fixed, layers.GroupNormalization(1), wrapped])
    model.compile("sgd", "mse")
    names, before = trained_names(model), listed(model.get_weights())
    model.fit(np.random.default_rng(1).random((32, 8)), np.ones((32, 2)), verbose=0)
    state = set(moved(before, listed(model.get_weights()))) - set(names)
    assert {model.weights[int(place)].name for place in state} == {"moving_mean", "moving_variance", "vector_u"}
    assert [model.weights[int(place)] for place in names] == [weight for weight in model.weights if weight.trainable]
    assert set(names) < set(ArrayRecord(model.get_weights()))
    paths = {weight.path: weight.numpy() for weight in model.weights}
    judged = decide(paths, "trained").judged(paths)
    assert judged == [weight.path for weight in model.weights if weight.trainable or "fixed" in weight.path]  # frozen, by a flag alone
    strategy = Robust(rules.Median(f=2), judge=names)
    federate(strategy, reply=lambda got, node: got, model=before, rounds=1)
    assert strategy.core.state.judged == names


def flax():
    linen()
    modules()


def linen():
    import jax
    from flax import linen as nn
    from flax.core import freeze
    from flax.traverse_util import flatten_dict

    class Linen(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.BatchNorm(use_running_average=True, name="norm1")(nn.Dense(4)(x))
            return nn.SpectralNorm(nn.Dense(2))(nn.LayerNorm()(x), update_stats=False)

    variables = Linen().init(jax.random.key(0), np.ones((1, 8)))
    flat = {name: np.asarray(leaf) for name, leaf in flatten_dict(variables, sep="/").items()}
    expected = sorted(name for name in flat if name.startswith("params/"))
    assert trained_names(variables) == trained_names(freeze(variables)) == sorted(decide(flat, "trained").judged(flat)) == expected
    leaves, places = jax.tree.leaves(variables), trained_names(variables, None)
    assert all(leaves[int(place)] is flatten_dict(variables, sep="/")[name] for place, name in zip(places, expected, strict=True))


def modules():
    import jax
    from flax import nnx

    class Module(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(11)])
            self.norm1, self.drop = nnx.BatchNorm(4, rngs=rngs), nnx.Dropout(0.2, rngs=rngs)

    module = Module(nnx.Rngs(0))
    names, state = trained_names(module), nnx.state(module)
    assert names == trained_names(state) == trained_names(nnx.state(module, nnx.Param))
    assert len(names) == 24
    assert not {"norm1/mean", "norm1/var"} & set(names)
    leaves, wanted = jax.tree.leaves(state), jax.tree.leaves(nnx.state(module, nnx.Param))
    assert all(leaves[int(place)] is leaf for place, leaf in zip(trained_names(module, None), wanted, strict=True))


def haiku():
    import haiku as hk
    import jax

    def network(x):
        return hk.Linear(2)(hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(hk.Linear(4)(x), is_training=True))

    pair = hk.transform_with_state(network).init(jax.random.PRNGKey(0), np.ones((2, 8)))
    flat = {f"{module}/{name}": np.asarray(leaf) for tree in pair for module, leaves in tree.items() for name, leaf in leaves.items()}
    assert trained_names(pair) == trained_names(pair[0]) == sorted(decide(flat, "trained").judged(flat))
    assert len(trained_names(pair)) == 6 < len(flat)
    leaves, places = listed(jax.tree.leaves(pair)), trained_names(pair, None)
    assert all(np.array_equal(leaves[place], flat[name]) for place, name in zip(places, trained_names(pair), strict=True))


def peft():
    """The names that PEFT saves under, without the adapter's own."""
    from peft import LoraConfig, VeraConfig, get_peft_model, get_peft_model_state_dict
    from transformers import ViTConfig, ViTForImageClassification

    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}

    def made(config):
        return get_peft_model(ViTForImageClassification(ViTConfig(**size, image_size=8, patch_size=4, num_channels=1)), config)

    for settings in ({}, {"modules_to_save": ["classifier"]}, {"bias": "lora_only"}, {"use_dora": True}):
        model = made(LoraConfig(r=2, target_modules=["q_proj"], **settings))
        assert trained_names(model) == list(get_peft_model_state_dict(model)) == list(ArrayRecord(get_peft_model_state_dict(model)))
    model = made(LoraConfig(r=2, target_modules=["q_proj"]))
    for name, value in model.named_parameters():
        value.requires_grad_("lora_A" not in name and value.requires_grad)
    assert [name.split(".")[-2] for name in trained_names(model)] == ["lora_B"]
    model = made(VeraConfig(r=2, target_modules=["q_proj"]))
    assert {name.split(".")[-1] for name in get_peft_model_state_dict(model)} == {"vera_lambda_b", "vera_lambda_d", "vera_A", "vera_B"}
    assert {name.split(".")[-1] for name in trained_names(model)} == {"vera_lambda_b", "vera_lambda_d"}


if __name__ == "__main__":
    {"keras": keras, "flax": flax, "haiku": haiku, "peft": peft}[sys.argv[1]]()
