"""Strategies by name for Flower's Message API: change one import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flwr_byzantine import rules
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.strategy import rule_arguments as arguments
from flwr_byzantine.strategy.arguments import RuleArguments
from flwr_byzantine.strategy.fedavg import FedAvgArguments, Malicious, Records, RobustFedAvg, Sampling


@dataclass(eq=False, repr=False)
class Krum(Records, Malicious, Sampling, arguments.KrumArguments, RobustFedAvg):
    """Krum with Flower's arguments (`num_malicious_nodes`), or f: a count, or a share of the replies that arrive.

    See `rules.Krum` for the rule, and `Policy` for the arguments that all strategies share, `judge` among them: running statistics and
    counters decide nothing.

    Example:
        >>> Krum(num_malicious_nodes=2).rule_at(10)
        Krum(f=2, neighbors='n-f-2', power=2)
    """

    declared = "num_malicious_nodes"


@dataclass(eq=False, repr=False)
class Selected(Malicious):
    """Flower's arguments of Multi-Krum."""

    num_nodes_to_select: int = 1


@dataclass(eq=False, repr=False)
class MultiKrum(Records, Selected, Sampling, arguments.MultiKrumArguments, RobustFedAvg):
    """Multi-Krum with Flower's arguments (`num_nodes_to_select`, 1 by default as in Flower), or f and m.

    Unlike Flower's, the mean of the selected does not weigh by the num-examples that clients claim.

    Running statistics and counters decide nothing: `judge` in `Policy`.

    Example:
        >>> MultiKrum(num_malicious_nodes=2, num_nodes_to_select=3).rule_at(10).m
        3
    """

    declared = "num_malicious_nodes"

    def rule_with(self, f: int) -> Rule:
        """One-shot Multi-Krum that keeps m, or num_nodes_to_select."""
        return rules.MultiKrum(f=f, m=self.num_nodes_to_select if self.m is None else self.m)


@dataclass(eq=False, repr=False)
class Bulyan(Records, Malicious, Sampling, arguments.BulyanArguments, RobustFedAvg):
    """Bulyan with Flower's arguments, or f. The paper's iterated selection, which Flower's does not do.

    Running statistics and counters decide nothing: `judge` in `Policy`.

    Example:
        >>> Bulyan(num_malicious_nodes=2).rule_at(11).min_n()
        11
    """

    declared = "num_malicious_nodes"

    selection_rule: Any = None

    def rule_with(self, f: int) -> Rule:
        """The paper's Bulyan, whose selection is Krum's."""
        if self.selection_rule is not None:
            raise InvalidParameter(f"Bulyan: selection_rule must be None (the paper's iterated Krum), got {self.selection_rule!r}")
        return super().rule_with(f)


@dataclass(eq=False, repr=False)
class FedMedian(FedAvgArguments, RuleArguments, RobustFedAvg):
    """Coordinate-wise median with Flower's arguments; f only declares the guarantee, (n - 1) // 2 by default.

    A value that fewer than half of the clients change stays as it is. Running statistics and counters decide nothing: `judge` in `Policy`.

    Example:
        >>> FedMedian().rule_at(11)
        Median(f=5)
    """

    rule_type = rules.Median


@dataclass(eq=False, repr=False)
class FedTrimmedAvg(arguments.FedTrimmedAvgArguments, FedAvgArguments, RobustFedAvg):
    """Trimmed mean with Flower's `beta`, of which int(beta n) are cut on each side, or f.

    A value that few clients change hardly moves. Running statistics and counters decide nothing: `judge` in `Policy`.

    Example:
        >>> FedTrimmedAvg(beta=0.2).rule_at(11)
        TrimmedMean(f=2)
    """

    beta: float = 0.2  # not by keyword only, as in Flower


@dataclass(eq=False, repr=False)
class FLTrust(FedAvgArguments, arguments.FLTrustArguments, RobustFedAvg):
    """FLTrust with FedAvg's arguments: replies weighted by their cosine with the server's own update, at its length.

    Running statistics and counters decide nothing: `judge` in `Policy`.

    Args:
        server_update: function of the round's number and the broadcast ArrayRecord that returns the model as trained on the
            server's own clean data (the paper: some hundred examples), as an ArrayRecord, a list or name -> array.

    Source: Cao, Fang, Liu, Gong, NDSS 2021.

    Example:
        >>> def train(server_round, arrays):  # some steps on the server's data
        ...     return [array - 0.1 for array in arrays.to_numpy_ndarrays()]
        >>> FLTrust(server_update=train).rule_at(5)
        FLTrust(f=2)
    """


@dataclass(eq=False, repr=False)
class Mean(FedAvgArguments, RuleArguments, RobustFedAvg):
    """The unweighted mean of the replies that pass inspection: FedAvg without trust in num-examples, not robust.

    Running statistics and counters decide nothing: `judge` in `Policy`.

    Example:
        >>> Mean().rule_at(5)
        Mean()
    """

    rule_type = rules.Mean
