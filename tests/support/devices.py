"""CPU tensors treated as those of a GPU, where there is none."""

from flwr_byzantine.arrays import conversion, device


def through_torch(monkeypatch, without_float64=False):
    """Let torch do the work for CPU tensors too; on request as on a device that has no float64."""
    monkeypatch.setattr(conversion, "HOST", frozenset())
    if without_float64:
        monkeypatch.setattr(device, "WITHOUT_FLOAT64", frozenset({"cpu"}))
