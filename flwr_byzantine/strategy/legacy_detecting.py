"""Strategies by name that leave out the clients whom a detector finds, for Flower's legacy API."""

from __future__ import annotations

from dataclasses import dataclass

from flwr_byzantine.strategy import detector_arguments as arguments
from flwr_byzantine.strategy.legacy_fedavg import FedAvgArguments, RobustFedAvg


@dataclass(kw_only=True, eq=False, repr=False)
class FLDetector(FedAvgArguments, arguments.FLDetectorArguments, RobustFedAvg):
    """FLDetector: leaves out clients whose updates are not what their own last ones let expect.

    As `flwr_byzantine.FLDetector`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class FLANDERS(FedAvgArguments, arguments.FLANDERSArguments, RobustFedAvg):
    """FLANDERS: leaves out clients whose models are not what a matrix autoregression of all lets expect.

    As `flwr_byzantine.FLANDERS`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class DeepSight(FedAvgArguments, arguments.DeepSightArguments, RobustFedAvg):
    """DeepSight: leaves out clusters of clients whose output layers say that they were trained on few labels.

    As `flwr_byzantine.DeepSight`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class SafeGuard(FedAvgArguments, arguments.SafeGuardArguments, RobustFedAvg):
    """SafeGuard: leaves out for good, clients whose updates add up to a way of their own.

    As `flwr_byzantine.SafeGuard`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class MartingaleFilter(FedAvgArguments, arguments.MartingaleFilterArguments, RobustFedAvg):
    """MartingaleFilter: leaves out for good, by a filter of Alistarh et al., clients far from the median in one of three ways.

    As `flwr_byzantine.MartingaleFilter`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class Zeno(FedAvgArguments, arguments.ZenoArguments, RobustFedAvg):
    """Zeno: leaves out the f clients whose updates lower the server's loss least; `server_loss=` is the function that tells it.

    As `flwr_byzantine.Zeno`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class ZenoPlusPlus(FedAvgArguments, arguments.ZenoPlusPlusArguments, RobustFedAvg):
    """ZenoPlusPlus: leaves out clients whose updates go against the server's own; `server_update=` makes that one, as for FLTrust.

    As `flwr_byzantine.ZenoPlusPlus`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """
