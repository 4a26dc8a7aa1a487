"""Byzantine-resilient aggregation for Flower.

Strategies load Flower when they are first used; `flwr_byzantine.rules` and `.attacks` load neither Flower nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from flwr_byzantine.errors import ByzantineError, InfeasibleRound, InvalidParameter, MalformedUpdate, TooFewUpdates  # noqa: F401

if TYPE_CHECKING:
    from flwr_byzantine.strategy import (  # noqa: F401
        Bulyan,
        ByzantineSGD,
        FedMedian,
        FedTrimmedAvg,
        Krum,
        MultiKrum,
        NodeReport,
        Quarantine,
        Robust,
        RoundReport,
    )

__version__ = "0.1.0"
_MODULES = {
    **{name: name for name in ("adversary", "attacks", "client", "legacy", "mods", "rules", "theory")},
    "audit": "experiments.audit",
    "poison": "attacks.poisoning",
    "report": "experiments.report",
}
_STRATEGIES = [
    "Bulyan",
    "ByzantineSGD",
    "CAF",
    "CGE",
    "CenteredClipping",
    "ClippedClustering",
    "DnC",
    "FLAME",
    "FLTrust",
    "FedMedian",
    "FedTrimmedAvg",
    "FoolsGold",
    "GeometricMedian",
    "Krum",
    "MDA",
    "MeaMed",
    "Mean",
    "Median",
    "MoNNA",
    "MultiKrum",
    "NodeReport",
    "Phocas",
    "Quarantine",
    "Robust",
    "RoundReport",
    "SMEA",
    "SignGuard",
    "TrimmedMean",
]
__all__ = sorted(
    [
        *_MODULES,
        *_STRATEGIES,
        "ByzantineError",
        "InfeasibleRound",
        "InvalidParameter",
        "MalformedUpdate",
        "TooFewUpdates",
        "__version__",
        "citation",
    ]
)


def __getattr__(name: str) -> Any:
    """Load submodules and strategies at their first use."""
    if name in _MODULES:
        return importlib.import_module(f"flwr_byzantine.{_MODULES[name]}")
    if name == "citation":
        return importlib.import_module("flwr_byzantine.declare.citations").citation
    if name in _STRATEGIES:
        return getattr(importlib.import_module("flwr_byzantine.strategy"), name)
    raise AttributeError(f"module 'flwr_byzantine' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
