"""Robust strategies for Flower: a robust rule in place of the average, in both of its APIs.

The mathematics is in `rules`; here is what a server does round after round. `core` runs the rounds and knows no Flower type;
`message` and `legacy` translate for Flower's two APIs; `fedavg` and `wrapper` are the two ways to stand on a Flower strategy
(to be one, to wrap one), `named`, `catalogue`, `further` those by name. May import: errors, arrays, declare, rules, theory, flower.
"""

from flwr_byzantine.strategy.buffered import Buffered
from flwr_byzantine.strategy.catalogue import (
    CAF,
    CGE,
    FLAME,
    LASA,
    MDA,
    SMEA,
    CenteredClipping,
    ClippedClustering,
    DnC,
    FoolsGold,
    GeometricMedian,
    MeaMed,
    Median,
    MoNNA,
    Phocas,
    SignGuard,
    TrimmedMean,
)
from flwr_byzantine.strategy.detecting import FLANDERS, DeepSight, FLDetector, MartingaleFilter, SafeGuard, Zeno, ZenoPlusPlus
from flwr_byzantine.strategy.further import CRFL, CTMA, GAS, RLR, SLSGD, Aksel, AutoGM, FedRDF, SignSGD
from flwr_byzantine.strategy.named import Bulyan, FedMedian, FedTrimmedAvg, FLTrust, Krum, Mean, MultiKrum
from flwr_byzantine.strategy.quarantine import Quarantine
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from flwr_byzantine.strategy.wrapper import ByzantineSGD, Robust

__all__ = [
    "CAF",
    "CGE",
    "CRFL",
    "CTMA",
    "FLAME",
    "FLANDERS",
    "GAS",
    "LASA",
    "MDA",
    "RLR",
    "SLSGD",
    "SMEA",
    "Aksel",
    "AutoGM",
    "Buffered",
    "Bulyan",
    "ByzantineSGD",
    "CenteredClipping",
    "ClippedClustering",
    "DeepSight",
    "DnC",
    "FLDetector",
    "FLTrust",
    "FedMedian",
    "FedRDF",
    "FedTrimmedAvg",
    "FoolsGold",
    "GeometricMedian",
    "Krum",
    "MartingaleFilter",
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
    "SafeGuard",
    "SignGuard",
    "SignSGD",
    "TrimmedMean",
    "Zeno",
    "ZenoPlusPlus",
]
