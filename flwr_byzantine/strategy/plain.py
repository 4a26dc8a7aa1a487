"""Plain data (numbers, texts, arrays, generators, and containers of these) as JSON and arrays, and back."""

from __future__ import annotations

import base64
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.common import Parameters

from flwr_byzantine.arrays.typing import Array

Form = Any  # what JSON can hold
Arrays = dict[str, Array]


class NotPlain(Exception):
    """A value that is no plain data."""


def pack(value: Any, path: str, arrays: Arrays) -> Form:
    """The value as JSON; its arrays go to `arrays`, under names that begin with `path`.

    Raises:
        NotPlain: it is of another type, or holds something of one. Types count exactly: a subclass may hold more.

    Example:
        >>> arrays = {}
        >>> form = pack({"norms": (0.1, np.ones(2))}, "x", arrays)
        >>> unpack(form, arrays)
        {'norms': (0.1, array([1., 1.]))}
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [pack(item, path, arrays) for item in value]
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object and type(value) in (np.ndarray, value.dtype.type):
        name = f"{path}#{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {"array" if type(value) is np.ndarray else "number": name}
    for name, (kind, taken, _) in _KINDS.items():
        if type(value) is kind:
            return {name: pack(taken(value), path, arrays)}
    raise NotPlain(type(value).__name__)


def unpack(form: Form, arrays: Arrays) -> Any:
    """The value of which `pack` made the form."""
    if isinstance(form, list):
        return [unpack(item, arrays) for item in form]
    if not isinstance(form, dict):
        return form
    ((name, inner),) = form.items()
    if name in ("array", "number"):
        return arrays[inner] if name == "array" else arrays[inner][()]
    return _KINDS[name][2](unpack(inner, arrays))


def _random(state: Any) -> random.Random:
    made = random.Random()
    made.setstate(state)
    return made


def _generator(state: dict[str, Any]) -> np.random.Generator:
    made = getattr(np.random, state["bit_generator"])()
    made.state = state
    return np.random.Generator(made)


def _random_state(state: dict[str, Any]) -> np.random.RandomState:
    made = np.random.RandomState()
    made.set_state(state)
    return made


def _pairs(value: Any) -> list[Any]:
    return [[key, item] for key, item in value.items()]


_KINDS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {  # name -> type, its parts, and back
    "dict": (dict, _pairs, lambda pairs: {key: item for key, item in pairs}),
    "tuple": (tuple, list, tuple),
    "set": (set, lambda value: sorted(value, key=repr), set),
    "frozenset": (frozenset, lambda value: sorted(value, key=repr), frozenset),
    "deque": (deque, lambda value: [list(value), value.maxlen], lambda parts: deque(*parts)),
    "bytes": (bytes, lambda value: base64.b64encode(value).decode(), base64.b64decode),
    "record": (
        ArrayRecord,
        lambda value: [[name, array.numpy()] for name, array in value.items()],
        lambda pairs: ArrayRecord({name: FlowerArray(value) for name, value in pairs}),
    ),
    "config": (ConfigRecord, dict, ConfigRecord),
    "metrics": (MetricRecord, dict, MetricRecord),
    "parameters": (
        Parameters,
        lambda value: [[np.frombuffer(data, np.uint8) for data in value.tensors], value.tensor_type],
        lambda parts: Parameters([data.tobytes() for data in parts[0]], parts[1]),
    ),
    "random": (random.Random, lambda value: value.getstate(), _random),
    "generator": (np.random.Generator, lambda value: value.bit_generator.state, _generator),
    "legacy generator": (np.random.RandomState, lambda value: value.get_state(legacy=False), _random_state),
}
