"""Strategies for the Message API of the rules that have no namesake in Flower: FedAvg's arguments, f, the rule's own parameters."""

from __future__ import annotations

from dataclasses import dataclass

from flwr_byzantine import rules
from flwr_byzantine.strategy import rule_arguments as arguments
from flwr_byzantine.strategy.arguments import RuleArguments
from flwr_byzantine.strategy.fedavg import FedAvgArguments, RobustFedAvg


@dataclass(eq=False, repr=False)
class CAF(FedAvgArguments, RuleArguments, RobustFedAvg):
    """CAF: filters the directions in which updates vary most.

    See `rules.CAF` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> CAF(f=2).rule_at(11).f
        2
    """

    rule_type = rules.CAF


@dataclass(eq=False, repr=False)
class CGE(FedAvgArguments, RuleArguments, RobustFedAvg):
    """CGE: the mean of the n - f shortest updates; its paper promises nothing against well-formed numbers of other kinds.

    See `rules.CGE` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> CGE(f=2).rule_at(11).f
        2
    """

    rule_type = rules.CGE


@dataclass(eq=False, repr=False)
class CenteredClipping(FedAvgArguments, arguments.CenteredClippingArguments, RobustFedAvg):
    """Centered clipping around the last round's aggregate.

    See `rules.CenteredClipping` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> CenteredClipping(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class ClippedClustering(FedAvgArguments, RuleArguments, RobustFedAvg):
    """ClippedClustering: clipped updates, and the mean of the larger of two clusters.

    See `rules.ClippedClustering` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> ClippedClustering(f=2).rule_at(11).f
        2
    """

    rule_type = rules.ClippedClustering


@dataclass(eq=False, repr=False)
class DnC(FedAvgArguments, arguments.DnCArguments, RobustFedAvg):
    """DnC (divide and conquer): leaves out what sticks out along the top singular vector of sampled coordinates.

    See `rules.DnC` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> DnC(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class FLAME(FedAvgArguments, arguments.FLAMEArguments, RobustFedAvg):
    """FLAME: clusters by direction, clips to the median norm, adds noise.

    See `rules.FLAME` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> FLAME(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class FoolsGold(FedAvgArguments, arguments.FoolsGoldArguments, RobustFedAvg):
    """FoolsGold: weighs down clients that look alike over rounds; made against Sybils only.

    See `rules.FoolsGold` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> FoolsGold(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class GeometricMedian(FedAvgArguments, arguments.GeometricMedianArguments, RobustFedAvg):
    """The geometric median (RFA), by Weiszfeld's iteration.

    See `rules.GeometricMedian` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> GeometricMedian(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class LASA(FedAvgArguments, arguments.LASAArguments, RobustFedAvg):
    """LASA: layer by layer, the mean of the clients with ordinary lengths and signs.

    See `rules.LASA` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> LASA(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class MDA(FedAvgArguments, RuleArguments, RobustFedAvg):
    """MDA: the mean of the n - f updates of the smallest diameter.

    See `rules.MDA` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> MDA(f=2).rule_at(11).f
        2
    """

    rule_type = rules.MDA


@dataclass(eq=False, repr=False)
class MeaMed(FedAvgArguments, arguments.MeaMedArguments, RobustFedAvg):
    """MeaMed: in each coordinate the mean of the values nearest the median.

    See `rules.MeaMed` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> MeaMed(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class Median(FedAvgArguments, RuleArguments, RobustFedAvg):
    """The coordinate-wise median; f only declares the guarantee.

    A value that fewer than half of the clients change stays as it is.

    See `rules.Median` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> Median(f=2).rule_at(11).f
        2
    """

    rule_type = rules.Median


@dataclass(eq=False, repr=False)
class MoNNA(FedAvgArguments, arguments.MoNNAArguments, RobustFedAvg):
    """MoNNA: the mean of the updates nearest a trusted one.

    See `rules.MoNNA` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> MoNNA(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class Phocas(FedAvgArguments, RuleArguments, RobustFedAvg):
    """Phocas: in each coordinate the mean of the values nearest the trimmed mean.

    See `rules.Phocas` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> Phocas(f=2).rule_at(11).f
        2
    """

    rule_type = rules.Phocas


@dataclass(eq=False, repr=False)
class SMEA(FedAvgArguments, RuleArguments, RobustFedAvg):
    """SMEA: the mean of the n - f updates of the smallest top eigenvalue.

    See `rules.SMEA` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> SMEA(f=2).rule_at(11).f
        2
    """

    rule_type = rules.SMEA


@dataclass(eq=False, repr=False)
class SignGuard(FedAvgArguments, arguments.SignGuardArguments, RobustFedAvg):
    """SignGuard: filters by norm and by the shares of signs.

    See `rules.SignGuard` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> SignGuard(f=2).rule_at(11).f
        2
    """


@dataclass(eq=False, repr=False)
class TrimmedMean(FedAvgArguments, RuleArguments, RobustFedAvg):
    """The coordinate-wise trimmed mean, f cut on each side: a value that few clients change hardly moves.

    See `rules.TrimmedMean` for the rule and its parameters, and `Policy` for the arguments that all strategies share, `judge` among
    them: running statistics and counters decide nothing.

    Example:
        >>> TrimmedMean(f=2).rule_at(11).f
        2
    """

    rule_type = rules.TrimmedMean
