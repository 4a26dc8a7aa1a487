"""Robust strategies for Flower's Message API."""

from flwr_byzantine.strategy.message import Robust
from flwr_byzantine.strategy.named import CATALOGUE, Bulyan, FedMedian, FedTrimmedAvg, FLTrust, Krum, Mean, MultiKrum
from flwr_byzantine.strategy.quarantine import Quarantine
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from flwr_byzantine.strategy.sgd import ByzantineSGD

globals().update(CATALOGUE)
__all__ = [
    "Bulyan",
    "ByzantineSGD",
    "FLTrust",
    "FedMedian",
    "FedTrimmedAvg",
    "Krum",
    "Mean",
    "MultiKrum",
    "NodeReport",
    "Quarantine",
    "Robust",
    "RoundReport",
]
__all__ += list(CATALOGUE)
