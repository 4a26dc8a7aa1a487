"""Strategies for the legacy API of rules over other rules, by votes, and of further centres; as those of `legacy_named`."""

from __future__ import annotations

from dataclasses import dataclass

from flwr_byzantine.strategy import further_arguments as arguments
from flwr_byzantine.strategy.legacy_fedavg import FedAvgArguments, RobustFedAvg


@dataclass(kw_only=True, eq=False, repr=False)
class Aksel(FedAvgArguments, arguments.AkselArguments, RobustFedAvg):
    """Aksel: the mean of the updates nearest the coordinate-wise median.

    As `flwr_byzantine.Aksel`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class AutoGM(FedAvgArguments, arguments.AutoGMArguments, RobustFedAvg):
    """AutoGM: the geometric median, with weights that leave far updates out.

    As `flwr_byzantine.AutoGM`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class CRFL(FedAvgArguments, arguments.CRFLArguments, RobustFedAvg):
    """CRFL: the new model clipped and blurred, after any rule.

    As `flwr_byzantine.CRFL`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class CTMA(FedAvgArguments, arguments.CTMAArguments, RobustFedAvg):
    """CTMA: the mean of the updates nearest another rule's answer.

    As `flwr_byzantine.CTMA`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class FedRDF(FedAvgArguments, arguments.FedRDFArguments, RobustFedAvg):
    """FedRDF: in each coordinate the value where a Fourier estimate of the density is highest.

    As `flwr_byzantine.FedRDF`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class GAS(FedAvgArguments, arguments.GASArguments, RobustFedAvg):
    """GAS: the mean of the updates that lie nearest another rule's answers on groups of coordinates.

    As `flwr_byzantine.GAS`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class RLR(FedAvgArguments, arguments.RLRArguments, RobustFedAvg):
    """RLR: another rule's aggregate, turned round in the coordinates where too few updates agree in sign.

    As `flwr_byzantine.RLR`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class SLSGD(FedAvgArguments, arguments.SLSGDArguments, RobustFedAvg):
    """SLSGD: the model goes a part of the way to the trimmed mean.

    As `flwr_byzantine.SLSGD`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class SignSGD(FedAvgArguments, arguments.SignSGDArguments, RobustFedAvg):
    """signSGD with majority vote: each coordinate moves by `eta` to the side that more updates are on.

    As `flwr_byzantine.SignSGD`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """
