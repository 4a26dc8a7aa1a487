"""Robust aggregation rules: frozen dataclasses over NumPy arrays or torch tensors. Loads neither flwr nor torch."""

from __future__ import annotations

from flwr_byzantine.declare.params import unknown_name
from flwr_byzantine.errors import InvalidParameter, MalformedUpdate, TooFewUpdates
from flwr_byzantine.rules.base import PreAggregation, Rule
from flwr_byzantine.rules.chains import Chain, chain
from flwr_byzantine.rules.clipping import ARC, Bucketing, CenteredClipping, Clipping
from flwr_byzantine.rules.coordinatewise import MeaMed, Median, Phocas, TrimmedMean
from flwr_byzantine.rules.krum import Bulyan, Krum, MultiKrum
from flwr_byzantine.rules.mixing import NNM, GeometricMedian, Mean
from flwr_byzantine.rules.results import Aggregate, State
from flwr_byzantine.rules.spectral import CAF, DnC
from flwr_byzantine.rules.subsets import CGE, MDA, SMEA, MoNNA
from flwr_byzantine.rules.trust import FLAME, ClippedClustering, FLTrust, FoolsGold, SignGuard

__all__ = [
    "ARC",
    "CAF",
    "CGE",
    "FLAME",
    "MDA",
    "NNM",
    "SMEA",
    "Aggregate",
    "Bucketing",
    "Bulyan",
    "CenteredClipping",
    "Chain",
    "ClippedClustering",
    "Clipping",
    "DnC",
    "FLTrust",
    "FoolsGold",
    "GeometricMedian",
    "InvalidParameter",
    "Krum",
    "MalformedUpdate",
    "MeaMed",
    "Mean",
    "Median",
    "MoNNA",
    "MultiKrum",
    "Phocas",
    "PreAggregation",
    "Rule",
    "SignGuard",
    "State",
    "TooFewUpdates",
    "TrimmedMean",
    "available",
    "chain",
    "get",
]


def available() -> list[type[Rule]]:
    """Every rule class, sorted by name.

    Example:
        >>> [rule.__name__ for rule in available()][:2]
        ['ARC', 'Bucketing']
    """
    exported = [globals()[name] for name in __all__]
    found = [item for item in exported if isinstance(item, type) and issubclass(item, Rule)]
    return sorted((item for item in found if item not in (Rule, Chain, PreAggregation)), key=lambda item: item.__name__)


def get(name: str) -> type[Rule]:
    """The rule class called `name`, whatever its case, hyphens or underscores.

    Raises:
        InvalidParameter: there is none; the message lists those there are.

    Example:
        >>> get("multi-krum").__name__
        'MultiKrum'
    """
    known = {item.__name__.lower(): item for item in available()}
    found = known.get(name.lower().replace("-", "").replace("_", "")) if isinstance(name, str) else None
    if found is None:
        raise unknown_name("rule", name, [item.__name__ for item in available()])
    return found
