"""Byzantine-resilient aggregation for Flower.

Strategies load Flower when they are first used; `flwr_byzantine.rules` and `.attacks` load neither Flower nor torch.
ARCHITECTURE.md, beside this file, is the map.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from flwr_byzantine.declare import moved
from flwr_byzantine.errors import ByzantineError, InfeasibleRound, InvalidParameter, MalformedUpdate, TooFewUpdates

if TYPE_CHECKING:
    from flwr_byzantine import adversary, attacks, client, legacy, mods, rules, theory
    from flwr_byzantine.attacks import poisoning as poison
    from flwr_byzantine.declare.citations import citation
    from flwr_byzantine.experiments import audit, report
    from flwr_byzantine.flower.local import LocalGrid
    from flwr_byzantine.flower.timed import TimedGrid
    from flwr_byzantine.strategy import (
        CAF,
        CGE,
        CRFL,
        CTMA,
        FLAME,
        FLANDERS,
        GAS,
        LASA,
        MDA,
        RLR,
        SLSGD,
        SMEA,
        Aksel,
        AutoGM,
        Buffered,
        Bulyan,
        ByzantineSGD,
        CenteredClipping,
        ClippedClustering,
        DeepSight,
        DnC,
        FedMedian,
        FedRDF,
        FedTrimmedAvg,
        FLDetector,
        FLTrust,
        FoolsGold,
        GeometricMedian,
        Krum,
        MartingaleFilter,
        MeaMed,
        Mean,
        Median,
        MoNNA,
        MultiKrum,
        NodeReport,
        Phocas,
        Quarantine,
        Robust,
        RoundReport,
        SafeGuard,
        SignGuard,
        SignSGD,
        TrimmedMean,
        Zeno,
        ZenoPlusPlus,
    )
    from flwr_byzantine.strategy.lora import LoRA
    from flwr_byzantine.strategy.trained import trained_names

__version__ = "0.1.0"
moved.install()
__all__ = [  # noqa: RUF022 (plainly sorted)
    "Aksel",
    "AutoGM",
    "Buffered",
    "Bulyan",
    "ByzantineError",
    "ByzantineSGD",
    "CAF",
    "CGE",
    "CRFL",
    "CTMA",
    "CenteredClipping",
    "ClippedClustering",
    "DeepSight",
    "DnC",
    "FLAME",
    "FLANDERS",
    "FLDetector",
    "FLTrust",
    "FedMedian",
    "FedRDF",
    "FedTrimmedAvg",
    "FoolsGold",
    "GAS",
    "GeometricMedian",
    "InfeasibleRound",
    "InvalidParameter",
    "Krum",
    "LASA",
    "LoRA",
    "LocalGrid",
    "MDA",
    "MalformedUpdate",
    "MartingaleFilter",
    "MeaMed",
    "Mean",
    "Median",
    "MoNNA",
    "MultiKrum",
    "NodeReport",
    "Phocas",
    "Quarantine",
    "RLR",
    "Robust",
    "RoundReport",
    "SLSGD",
    "SMEA",
    "SafeGuard",
    "SignGuard",
    "SignSGD",
    "TimedGrid",
    "TooFewUpdates",
    "TrimmedMean",
    "Zeno",
    "ZenoPlusPlus",
    "__version__",
    "adversary",
    "attacks",
    "audit",
    "citation",
    "client",
    "legacy",
    "mods",
    "poison",
    "report",
    "rules",
    "theory",
    "trained_names",
]

_MODULES = {
    **{name: name for name in ("adversary", "attacks", "client", "legacy", "mods", "rules", "theory")},
    "audit": "experiments.audit",
    "poison": "attacks.poisoning",
    "report": "experiments.report",
}
_PLACES = {  # other names, and the modules that hold them
    "citation": "declare.citations",
    "LocalGrid": "flower.local",
    "TimedGrid": "flower.timed",
    "LoRA": "strategy.lora",
    "trained_names": "strategy.trained",
}

if not TYPE_CHECKING:  # to a type checker, the imports above are all there is: a name that is none is refused

    def __getattr__(name: str) -> Any:
        """Load submodules and strategies at their first use."""
        if name in _MODULES:
            return importlib.import_module(f"flwr_byzantine.{_MODULES[name]}")
        if name in __all__:
            return getattr(importlib.import_module(f"flwr_byzantine.{_PLACES.get(name, 'strategy')}"), name)
        if name == "aggregate_n_closest_weights":  # a function of Flower's Bulyan module, for code that imports both from one place
            return importlib.import_module("flwr_byzantine.flower.compat").aggregation(name)
        raise AttributeError(f"module 'flwr_byzantine' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
