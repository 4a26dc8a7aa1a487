"""Robust aggregation rules: frozen dataclasses over NumPy arrays or torch tensors, one file a family.

`base.Rule` says what a rule is, `pipeline.run` runs it, `view.View` is what it sees of the updates, `results` what it
answers; `chains.chain` composes rules and `parsing` knows them by name.

May import: `errors`, `arrays`, `declare`. Loads neither flwr
nor torch.
"""

from __future__ import annotations

from flwr_byzantine.errors import InvalidParameter, MalformedUpdate, TooFewUpdates
from flwr_byzantine.rules.after import CRFL, RLR, SLSGD
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.bulyan import Bulyan
from flwr_byzantine.rules.chains import Chain, chain
from flwr_byzantine.rules.clipping import ARC, Bucketing, CenteredClipping, Clipping
from flwr_byzantine.rules.columns import FedRDF, SignSGD
from flwr_byzantine.rules.coordinatewise import MeaMed, Median, Phocas, TrimmedMean
from flwr_byzantine.rules.detecting.deepsight import DeepSight
from flwr_byzantine.rules.detecting.flanders import FLANDERS
from flwr_byzantine.rules.detecting.fldetector import FLDetector
from flwr_byzantine.rules.detecting.martingale import MartingaleFilter
from flwr_byzantine.rules.detecting.safeguard import SafeGuard
from flwr_byzantine.rules.detecting.zeno import Zeno, ZenoPlusPlus
from flwr_byzantine.rules.families import PreAggregation
from flwr_byzantine.rules.filters import FLAME, ClippedClustering, SignGuard
from flwr_byzantine.rules.krum import Krum, MultiKrum
from flwr_byzantine.rules.layerwise import LASA
from flwr_byzantine.rules.mixing import NNM, GeometricMedian, Mean
from flwr_byzantine.rules.nearest import CGE, MoNNA
from flwr_byzantine.rules.over import CTMA, GAS, Aksel
from flwr_byzantine.rules.parsing import available, detectors, get, parse
from flwr_byzantine.rules.results import Aggregate, State
from flwr_byzantine.rules.spectral import CAF, DnC
from flwr_byzantine.rules.subsets import MDA, SMEA
from flwr_byzantine.rules.synthetic import FoundationFL
from flwr_byzantine.rules.trust import FLTrust, FoolsGold
from flwr_byzantine.rules.weighted import AutoGM

__all__ = [
    "ARC",
    "CAF",
    "CGE",
    "CRFL",
    "CTMA",
    "FLAME",
    "FLANDERS",
    "GAS",
    "LASA",
    "MDA",
    "NNM",
    "RLR",
    "SLSGD",
    "SMEA",
    "Aggregate",
    "Aksel",
    "AutoGM",
    "Bucketing",
    "Bulyan",
    "CenteredClipping",
    "Chain",
    "ClippedClustering",
    "Clipping",
    "DeepSight",
    "DnC",
    "FLDetector",
    "FLTrust",
    "FedRDF",
    "FoolsGold",
    "FoundationFL",
    "GeometricMedian",
    "InvalidParameter",
    "Krum",
    "MalformedUpdate",
    "MartingaleFilter",
    "MeaMed",
    "Mean",
    "Median",
    "MoNNA",
    "MultiKrum",
    "Phocas",
    "PreAggregation",
    "Rule",
    "SafeGuard",
    "SignGuard",
    "SignSGD",
    "State",
    "TooFewUpdates",
    "TrimmedMean",
    "Zeno",
    "ZenoPlusPlus",
    "available",
    "chain",
    "detectors",
    "get",
    "parse",
]
