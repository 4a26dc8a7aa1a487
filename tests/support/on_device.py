"""Rows for the tests of tensors on a device, and devices whose tensors go through torch in chunks of one tile."""

import numpy as np

from flwr_byzantine.arrays import device as tensors
from tests.support.devices import through_torch

N, D, F = 13, 3001, 2


def prepared(name, monkeypatch):
    """Name a device whose tensors go through torch, in chunks of one tile."""
    monkeypatch.setattr(tensors, "BUDGET", 1)
    if name != "cuda":
        through_torch(monkeypatch, without_float64="without" in name)
    return name.split()[0]


def data(n=N, d=D, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)


def host(tensor):
    return tensor.cpu().double().numpy()
