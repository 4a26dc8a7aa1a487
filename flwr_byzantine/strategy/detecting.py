"""Strategies by name that leave out the clients whom a detector finds, for Flower's Message API."""

from __future__ import annotations

from dataclasses import dataclass

from flwr_byzantine.strategy import detector_arguments as arguments
from flwr_byzantine.strategy.fedavg import FedAvgArguments, RobustFedAvg


@dataclass(eq=False, repr=False)
class FLDetector(FedAvgArguments, arguments.FLDetectorArguments, RobustFedAvg):
    """FLDetector: leaves out clients whose updates are not what their own last ones let expect.

    See `rules.FLDetector` for the stage and its parameters, `then` for the rule over those who are left, and `Policy` for the
    arguments that all strategies share, `judge` among them: running statistics and counters decide nothing.

    Example:
        >>> [str(stage) for stage in FLDetector(f=2, then="median").rule_at(11).stages()]
        ['FLDetector(f=2)', 'Median(f=2)']
    """


@dataclass(eq=False, repr=False)
class FLANDERS(FedAvgArguments, arguments.FLANDERSArguments, RobustFedAvg):
    """FLANDERS: leaves out clients whose models are not what a matrix autoregression of all lets expect.

    See `rules.FLANDERS` for the stage and its parameters, `then` for the rule over those who are left, and `Policy` for the
    arguments that all strategies share, `judge` among them: running statistics and counters decide nothing.

    Example:
        >>> [str(stage) for stage in FLANDERS(f=2, then="median").rule_at(11).stages()]
        ['FLANDERS(f=2)', 'Median(f=2)']
    """


@dataclass(eq=False, repr=False)
class DeepSight(FedAvgArguments, arguments.DeepSightArguments, RobustFedAvg):
    """DeepSight: leaves out clusters of clients whose output layers say that they were trained on few labels.

    See `rules.DeepSight` for the stage and its parameters, `then` for the rule over those who are left, and `Policy` for the
    arguments that all strategies share, `judge` among them: running statistics and counters decide nothing.

    Example:
        >>> [str(stage) for stage in DeepSight(f=2, then="median").rule_at(11).stages()]
        ['DeepSight(f=2)', 'Median(f=2)']
    """


@dataclass(eq=False, repr=False)
class SafeGuard(FedAvgArguments, arguments.SafeGuardArguments, RobustFedAvg):
    """SafeGuard: leaves out for good, clients whose updates add up to a way of their own.

    See `rules.SafeGuard` for the stage and its parameters, `then` for the rule over those who are left, and `Policy` for the
    arguments that all strategies share, `judge` among them: running statistics and counters decide nothing.

    Example:
        >>> [str(stage) for stage in SafeGuard(f=2, then="median").rule_at(11).stages()]
        ['SafeGuard(f=2)', 'Median(f=2)']
    """


@dataclass(eq=False, repr=False)
class MartingaleFilter(FedAvgArguments, arguments.MartingaleFilterArguments, RobustFedAvg):
    """MartingaleFilter: leaves out for good, by a filter of Alistarh et al., clients far from the median in one of three ways.

    See `rules.MartingaleFilter` for the stage and its parameters, `then` for the rule over those who are left, and `Policy` for the
    arguments that all strategies share, `judge` among them: running statistics and counters decide nothing.

    Example:
        >>> [str(stage) for stage in MartingaleFilter(f=2, then="median").rule_at(11).stages()]
        ['MartingaleFilter(f=2)', 'Median(f=2)']
    """


@dataclass(eq=False, repr=False)
class Zeno(FedAvgArguments, arguments.ZenoArguments, RobustFedAvg):
    """Zeno: leaves out the f clients whose updates lower the server's loss least; `server_loss=` is the function that tells it.

    See `rules.Zeno` for the stage and its parameters, `then` for the rule over those who are left, and `Policy` for the
    arguments that all strategies share, `judge` among them: running statistics and counters decide nothing.

    Example:
        >>> def loss(server_round, arrays):  # on the server's data
        ...     return float((arrays["w"] ** 2).sum())
        >>> [str(stage) for stage in Zeno(f=2, server_loss=loss, then="median").rule_at(11).stages()]
        ['Zeno(f=2)', 'Median(f=2)']
    """


@dataclass(eq=False, repr=False)
class ZenoPlusPlus(FedAvgArguments, arguments.ZenoPlusPlusArguments, RobustFedAvg):
    """ZenoPlusPlus: leaves out clients whose updates go against the server's own; `server_update=` makes that one, as for FLTrust.

    See `rules.ZenoPlusPlus` for the stage and its parameters, `then` for the rule over those who are left, and `Policy` for the
    arguments that all strategies share, `judge` among them: running statistics and counters decide nothing.

    Example:
        >>> def train(server_round, arrays):  # some steps on the server's data
        ...     return [array - 0.1 for array in arrays.to_numpy_ndarrays()]
        >>> [str(stage) for stage in ZenoPlusPlus(f=2, server_update=train, then="median").rule_at(11).stages()]
        ['ZenoPlusPlus(f=2)', 'Median(f=2)']
    """
