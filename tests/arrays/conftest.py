"""Devices that several tests of arrays go through."""

import pytest

from tests.support.devices import CUDA
from tests.support.on_device import prepared


@pytest.fixture(params=["cpu", "cpu without float64", CUDA])
def device(request, monkeypatch):
    return prepared(request.param, monkeypatch)


@pytest.fixture(params=["cpu", CUDA])
def exact_device(request, monkeypatch):
    """A device that has float64."""
    return prepared(request.param, monkeypatch)
