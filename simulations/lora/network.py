"""A small network in NumPy whose two layers are frozen, with LoRA adapters on them and a head that is trained too; handwritten digits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from flwr_byzantine import LoRA

LAYERS = {"0": (96, 64), "2": (48, 96)}  # outputs and inputs of each
Arrays = dict[str, np.ndarray[Any, Any]]


@cache
def data() -> list[Any]:
    """Images and labels, for training and for testing."""
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split((x / 16).astype(np.float32), y, test_size=0.2, random_state=0)
    return [x_train, y_train, x_test, y_test]


@cache
def base() -> Arrays:
    """The frozen weights: random, so that a head alone does not learn all."""
    rng = np.random.default_rng(0)
    return {layer: rng.normal(size=shape).astype(np.float32) * np.float32((2 / shape[1]) ** 0.5) for layer, shape in LAYERS.items()}


def names(layer: str) -> tuple[str, str]:
    """Of the factors A and B of a layer."""
    return f"base_model.model.{layer}.lora_A.weight", f"base_model.model.{layer}.lora_B.weight"


def fresh(rank: int, seed: int) -> Arrays:
    """Adapters of this rank as PEFT begins them, A random and B zero, and the head."""
    rng, arrays = np.random.default_rng(seed), Arrays()
    for layer, (p, q) in LAYERS.items():
        a, b = names(layer)
        arrays |= {a: rng.uniform(-1, 1, (rank, q)).astype(np.float32) / np.float32(q**0.5), b: np.zeros((p, rank), np.float32)}
    return arrays | {"base_model.model.4.weight": np.zeros((10, LAYERS["2"][0]), np.float32)}


def weights(arrays: Arrays, lora: LoRA, frozen: Mapping[str, Any] = {}) -> Arrays:
    """The layers' weights with the adapters merged, and with what was merged into them before."""
    products = lora.products(arrays)
    return {layer: value + (products[layer] + frozen.get(layer, 0.0)).astype(np.float32) for layer, value in base().items()}


def forward(arrays: Arrays, merged: Arrays, x: Any) -> list[Any]:
    """The activations of both layers, and the scores of the ten digits."""
    first = np.maximum(x @ merged["0"].T, 0)
    second = np.maximum(first @ merged["2"].T, 0)
    return [first, second, second @ arrays["base_model.model.4.weight"].T]


def accuracy(arrays: Arrays, lora: LoRA) -> float:
    """In %, on the images for testing."""
    _, _, x, y = data()
    return float(100 * (forward(arrays, weights(arrays, lora), x)[-1].argmax(axis=1) == y).mean())


def gradients(arrays: Arrays, lora: LoRA, x: Any, y: Any, frozen: Mapping[str, Any]) -> Arrays:
    """Of the mean cross-entropy, for the factors and the head."""
    merged, head = weights(arrays, lora, frozen), "base_model.model.4.weight"
    first, second, scores = forward(arrays, merged, x)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    error = (shares / shares.sum(axis=1, keepdims=True) - np.eye(10, dtype=np.float32)[y]) / np.float32(len(y))
    of_second = (error @ arrays[head]) * (second > 0)
    of_first = (of_second @ merged["2"]) * (first > 0)
    found = {head: error.T @ second}
    for layer, G in (("0", of_first.T @ x), ("2", of_second.T @ first)):
        a, b = names(layer)
        scale = np.float32(lora.scale(layer, len(arrays[a])))
        found |= {a: scale * (arrays[b].T @ G), b: scale * (G @ arrays[a].T)}
    return found


def train(arrays: Arrays, lora: LoRA, part: slice, seed: int, frozen: Mapping[str, Any], steps: int = 16, rate: float = 0.003) -> Arrays:
    """The arrays after some steps of Adam on batches of 32 of a client's images."""
    x, y = (values[part] for values in data()[:2])
    rng, made = np.random.default_rng(seed), {name: value.copy() for name, value in arrays.items()}
    first, second = ({name: np.zeros_like(value) for name, value in arrays.items()} for _ in range(2))
    for step in range(1, steps + 1):
        batch = rng.choice(len(x), 32, replace=False)
        for name, g in gradients(made, lora, x[batch], y[batch], frozen).items():
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g**2
            made[name] -= rate * (first[name] / (1 - 0.9**step)) / (np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8)
    return {name: value.astype(np.float32) for name, value in made.items()}
