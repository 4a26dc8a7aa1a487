"""Strategies for the Message API of rules over other rules, by votes, and of further centres; as those of `catalogue`."""

from __future__ import annotations

from dataclasses import dataclass

from flwr_byzantine.strategy import further_arguments as arguments
from flwr_byzantine.strategy.fedavg import FedAvgArguments, RobustFedAvg


@dataclass(eq=False, repr=False)
class Aksel(FedAvgArguments, arguments.AkselArguments, RobustFedAvg):
    """Aksel: the mean of the updates nearest the coordinate-wise median.

    See `rules.Aksel` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> Aksel(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class AutoGM(FedAvgArguments, arguments.AutoGMArguments, RobustFedAvg):
    """AutoGM: the geometric median, with weights that leave far updates out.

    See `rules.AutoGM` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> AutoGM(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class CRFL(FedAvgArguments, arguments.CRFLArguments, RobustFedAvg):
    """CRFL: the new model clipped and blurred, after any rule.

    See `rules.CRFL` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> CRFL(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class CTMA(FedAvgArguments, arguments.CTMAArguments, RobustFedAvg):
    """CTMA: the mean of the updates nearest another rule's answer.

    See `rules.CTMA` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> CTMA(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class FedRDF(FedAvgArguments, arguments.FedRDFArguments, RobustFedAvg):
    """FedRDF: in each coordinate the value where a Fourier estimate of the density is highest.

    See `rules.FedRDF` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> FedRDF(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class GAS(FedAvgArguments, arguments.GASArguments, RobustFedAvg):
    """GAS: the mean of the updates that lie nearest another rule's answers on groups of coordinates.

    See `rules.GAS` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> GAS(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class RLR(FedAvgArguments, arguments.RLRArguments, RobustFedAvg):
    """RLR: another rule's aggregate, turned round in the coordinates where too few updates agree in sign.

    See `rules.RLR` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> RLR(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class SLSGD(FedAvgArguments, arguments.SLSGDArguments, RobustFedAvg):
    """SLSGD: the model goes a part of the way to the trimmed mean.

    See `rules.SLSGD` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> SLSGD(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class SignSGD(FedAvgArguments, arguments.SignSGDArguments, RobustFedAvg):
    """signSGD with majority vote: each coordinate moves by `eta` to the side that more updates are on.

    See `rules.SignSGD` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> SignSGD(f=2).rule_at(11).f
        2
    """
