"""Strategies by name for Flower's legacy API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flwr_byzantine import rules
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.strategy import rule_arguments as arguments
from flwr_byzantine.strategy.arguments import RuleArguments
from flwr_byzantine.strategy.legacy_fedavg import FedAvgArguments, Malicious, RobustFedAvg


@dataclass(kw_only=True, eq=False, repr=False)
class Krum(FedAvgArguments, Malicious, arguments.MultiKrumArguments, RobustFedAvg):
    """Krum with Flower's legacy arguments (`num_malicious_clients`; `num_clients_to_keep` or m > 0 is Multi-Krum), or f.

    Where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    declared = "num_malicious_clients"

    num_clients_to_keep: int = 0

    def rule_with(self, f: int) -> Rule:
        """Krum, or one-shot Multi-Krum where it is told how many to keep."""
        keep = self.m or self.num_clients_to_keep
        return rules.MultiKrum(f=f, m=keep) if keep else rules.Krum(f=f)


@dataclass(kw_only=True, eq=False, repr=False)
class MultiKrum(FedAvgArguments, Malicious, arguments.MultiKrumArguments, RobustFedAvg):
    """One-shot Multi-Krum with the legacy Krum's arguments; keeps n - f unless `num_clients_to_keep` or m says otherwise.

    Where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    declared = "num_malicious_clients"

    num_clients_to_keep: int = 0

    def rule_with(self, f: int) -> Rule:
        """Multi-Krum that keeps n - f unless it is told how many."""
        return rules.MultiKrum(f=f, m=self.m or self.num_clients_to_keep or None)


@dataclass(kw_only=True, eq=False, repr=False)
class Bulyan(FedAvgArguments, Malicious, arguments.BulyanArguments, RobustFedAvg):
    """Bulyan with Flower's legacy arguments, or f; the selection is always the paper's iterated Krum.

    `first_aggregation_rule` and its argument `to_keep` are accepted for the sake of code written for Flower's, and change nothing.

    Where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    declared = "num_malicious_clients"

    first_aggregation_rule: Any = None
    to_keep: int = 0


@dataclass(kw_only=True, eq=False, repr=False)
class FedMedian(FedAvgArguments, RuleArguments, RobustFedAvg):
    """Coordinate-wise median with FedAvg's legacy arguments; f only declares the guarantee.

    Where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    rule_type = rules.Median


@dataclass(kw_only=True, eq=False, repr=False)
class FedTrimmedAvg(FedAvgArguments, arguments.FedTrimmedAvgArguments, RobustFedAvg):
    """Trimmed mean with Flower's `beta`, of which int(beta n) are cut on each side, or f.

    Where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class FLTrust(FedAvgArguments, arguments.FLTrustArguments, RobustFedAvg):
    """FLTrust with FedAvg's arguments and the server's own training, `server_update`; see `flwr_byzantine.FLTrust`.

    Where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class Mean(FedAvgArguments, RuleArguments, RobustFedAvg):
    """The unweighted mean of the replies that pass inspection: FedAvg without trust in num-examples, not robust.

    Where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    rule_type = rules.Mean


@dataclass(kw_only=True, eq=False, repr=False)
class CAF(FedAvgArguments, RuleArguments, RobustFedAvg):
    """CAF: filters the directions in which updates vary most.

    As `flwr_byzantine.CAF`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    rule_type = rules.CAF


@dataclass(kw_only=True, eq=False, repr=False)
class CGE(FedAvgArguments, RuleArguments, RobustFedAvg):
    """CGE: the mean of the n - f shortest updates; its paper promises nothing against well-formed numbers of other kinds.

    As `flwr_byzantine.CGE`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    rule_type = rules.CGE


@dataclass(kw_only=True, eq=False, repr=False)
class CenteredClipping(FedAvgArguments, arguments.CenteredClippingArguments, RobustFedAvg):
    """Centered clipping around the last round's aggregate.

    As `flwr_byzantine.CenteredClipping`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class ClippedClustering(FedAvgArguments, RuleArguments, RobustFedAvg):
    """ClippedClustering: clipped updates, and the mean of the larger of two clusters.

    As `flwr_byzantine.ClippedClustering`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    rule_type = rules.ClippedClustering


@dataclass(kw_only=True, eq=False, repr=False)
class DnC(FedAvgArguments, arguments.DnCArguments, RobustFedAvg):
    """DnC (divide and conquer): leaves out what sticks out along the top singular vector of sampled coordinates.

    As `flwr_byzantine.DnC`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class FLAME(FedAvgArguments, arguments.FLAMEArguments, RobustFedAvg):
    """FLAME: clusters by direction, clips to the median norm, adds noise.

    As `flwr_byzantine.FLAME`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class FoolsGold(FedAvgArguments, arguments.FoolsGoldArguments, RobustFedAvg):
    """FoolsGold: weighs down clients that look alike over rounds; made against Sybils only.

    As `flwr_byzantine.FoolsGold`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class GeometricMedian(FedAvgArguments, arguments.GeometricMedianArguments, RobustFedAvg):
    """The geometric median (RFA), by Weiszfeld's iteration.

    As `flwr_byzantine.GeometricMedian`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class LASA(FedAvgArguments, arguments.LASAArguments, RobustFedAvg):
    """LASA: layer by layer, the mean of the clients with ordinary lengths and signs.

    As `flwr_byzantine.LASA`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class MDA(FedAvgArguments, RuleArguments, RobustFedAvg):
    """MDA: the mean of the n - f updates of the smallest diameter.

    As `flwr_byzantine.MDA`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    rule_type = rules.MDA


@dataclass(kw_only=True, eq=False, repr=False)
class MeaMed(FedAvgArguments, arguments.MeaMedArguments, RobustFedAvg):
    """MeaMed: in each coordinate the mean of the values nearest the median.

    As `flwr_byzantine.MeaMed`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class Median(FedAvgArguments, RuleArguments, RobustFedAvg):
    """The coordinate-wise median; f only declares the guarantee.

    As `flwr_byzantine.Median`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    rule_type = rules.Median


@dataclass(kw_only=True, eq=False, repr=False)
class MoNNA(FedAvgArguments, arguments.MoNNAArguments, RobustFedAvg):
    """MoNNA: the mean of the updates nearest a trusted one.

    As `flwr_byzantine.MoNNA`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class Phocas(FedAvgArguments, RuleArguments, RobustFedAvg):
    """Phocas: in each coordinate the mean of the values nearest the trimmed mean.

    As `flwr_byzantine.Phocas`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    rule_type = rules.Phocas


@dataclass(kw_only=True, eq=False, repr=False)
class SMEA(FedAvgArguments, RuleArguments, RobustFedAvg):
    """SMEA: the mean of the n - f updates of the smallest top eigenvalue.

    As `flwr_byzantine.SMEA`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    rule_type = rules.SMEA


@dataclass(kw_only=True, eq=False, repr=False)
class SignGuard(FedAvgArguments, arguments.SignGuardArguments, RobustFedAvg):
    """SignGuard: filters by norm and by the shares of signs.

    As `flwr_byzantine.SignGuard`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class TrimmedMean(FedAvgArguments, RuleArguments, RobustFedAvg):
    """The coordinate-wise trimmed mean, f cut on each side.

    As `flwr_byzantine.TrimmedMean`; where there are running statistics, pass the positions of what is trained: `judge=[0, 1, ...]`.
    """

    rule_type = rules.TrimmedMean
