"""Which arrays of a model its framework trains, by the names that the model has in Flower: for `judge=`."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.strategy.roles import framework_state


def trained_names(model: Any, separator: str | None = "/") -> list[str]:
    """The names of what is trained, to be passed as `judge=`; no framework is loaded for it.

    Args:
        model: a torch module: the names of its state_dict, without buffers and frozen parameters. A model with PEFT's adapters: the
            names that `get_peft_model_state_dict` gives. A Keras model: the positions in `get_weights()` of its trainable weights,
            by which Flower names a list of arrays in both APIs ("0", "1", ...). A tree of JAX arrays: Flax's variables, of which
            "params" is trained, a module or state of Flax NNX, Haiku's pair of parameters and state, or parameters alone.
        separator: between the keys in a tree's names; None gives the positions of the leaves in JAX's order
            (`jax.tree.leaves`), for models that are sent as a list.

    Raises:
        InvalidParameter: the model is of another kind, or nothing in it is trained.

    Example:
        >>> import torch
        >>> trained_names(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)))
        ['0.weight', '0.bias', '1.weight', '1.bias']
        >>> import numpy as np
        >>> flax = {"params": {"Dense_0": {"kernel": np.ones(2)}}, "batch_stats": {"BatchNorm_0": {"mean": np.ones(2)}}}
        >>> trained_names(flax), trained_names(flax, separator=None)
        (['params/Dense_0/kernel'], ['1'])
    """
    names = _names(model, separator)
    if not names:
        raise InvalidParameter(f"trained_names: expected a model with something to train, got {type(model).__name__} without")
    return names


def _names(model: Any, separator: str | None) -> list[str]:
    if hasattr(model, "trainable_weights") and hasattr(model, "get_weights"):  # Keras', which may be torch modules too
        trained = {id(weight) for weight in model.trainable_weights}
        return [str(place) for place, weight in enumerate(model.weights) if id(weight) in trained]
    if hasattr(model, "named_parameters"):
        names = {name: value for name, value in model.named_parameters(remove_duplicate=False) if value.requires_grad}
        return _names_of_adapters(model, names.values()) if hasattr(model, "peft_config") else list(names)
    if _nnx_kinds(model):
        model = importlib.import_module("flax.nnx").state(model) if not isinstance(model, Mapping) else model
    if isinstance(model, Mapping) or (isinstance(model, tuple | list) and model and isinstance(model[0], Mapping)):
        return _names_of_tree(model, separator)
    raise InvalidParameter(f"trained_names: expected a torch module, a Keras model or a tree of arrays, got {type(model).__name__}")


def _names_of_adapters(model: Any, trained: Iterable[Any]) -> list[str]:
    """What PEFT calls the trained parameters where it saves adapters: without the adapter's name."""
    where = {value.data_ptr() for value in trained}
    return [name for name, value in importlib.import_module("peft").get_peft_model_state_dict(model).items() if value.data_ptr() in where]


def _nnx_kinds(item: Any) -> set[str]:
    """Names of the classes of Flax NNX that it is an instance of."""
    return {cls.__name__ for cls in type(item).__mro__ if cls.__module__.startswith("flax.nnx")}


def _names_of_tree(model: Any, separator: str | None) -> list[str]:
    """Of a mapping, or of a pair of parameters and state, where the parameters alone have names."""
    tree = model if isinstance(model, Mapping) else model[0]
    found = [(place, path) for place, (path, leaf) in enumerate(_leaves(tree, ())) if _is_trained(tree, path, leaf)]
    return [str(place) if separator is None else separator.join(path) for place, path in found]


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The leaves in JAX's order, with their paths."""
    if isinstance(tree, Mapping):
        for key in sorted(tree):
            yield from _leaves(tree[key], (*path, str(key)))
    elif isinstance(tree, tuple | list):
        for place, item in enumerate(tree):
            yield from _leaves(item, (*path, str(place)))
    elif tree is not None:
        yield path, tree


def _is_trained(tree: Mapping[str, Any], path: tuple[str, ...], leaf: Any) -> bool:
    if "Variable" in (kinds := _nnx_kinds(leaf)):
        return "Param" in kinds
    if "params" in tree:
        return path[0] == "params"
    return any(kind in str(getattr(leaf, "dtype", "")) for kind in ("float", "complex")) and not framework_state("/".join(path))
