"""Devices to test on: the GPU where there is one, and CPU tensors treated as a GPU's where there is none."""

import pytest
import torch

from flwr_byzantine.arrays import conversion, device

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"))
each_device = pytest.mark.parametrize("device", ["cpu", CUDA])


def through_torch(monkeypatch, without_float64=False):
    """Let torch do the work for CPU tensors too; on request as on a device that has no float64."""
    monkeypatch.setattr(conversion, "HOST", frozenset())
    if without_float64:
        monkeypatch.setattr(device, "WITHOUT_FLOAT64", frozenset({"cpu"}))
