"""The parameters of each rule as a strategy's arguments; both Flower APIs share them, and a test holds them to the rules' own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from flwr_byzantine import rules
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.strategy.arguments import RuleArguments
from flwr_byzantine.strategy.trusted import NO_SERVER_UPDATE


@dataclass(kw_only=True, eq=False, repr=False)
class BulyanArguments(RuleArguments):
    """Of Bulyan; the selection is always the paper's iterated Krum."""

    rule_type = rules.Bulyan


@dataclass(kw_only=True, eq=False, repr=False)
class KrumArguments(RuleArguments):
    """Of Krum."""

    rule_type = rules.Krum


@dataclass(kw_only=True, eq=False, repr=False)
class MultiKrumArguments(RuleArguments):
    """Of Multi-Krum: m, how many replies are averaged; n - f by default."""

    rule_type = rules.MultiKrum

    m: int | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class CenteredClippingArguments(RuleArguments):
    """Of centered clipping: radius tau, and how often it is repeated."""

    rule_type = rules.CenteredClipping

    tau: float = 10.0
    max_iter: int = 1


@dataclass(kw_only=True, eq=False, repr=False)
class DnCArguments(RuleArguments):
    """Of DnC: repetitions, the share c of f that each drops, b coordinates sampled, and their seed."""

    rule_type = rules.DnC

    niters: int = 1
    c: float = 1.0
    b: int = 10_000
    seed: int = 0


@dataclass(kw_only=True, eq=False, repr=False)
class FLAMEArguments(RuleArguments):
    """Of FLAME: the noise's size against the clipping bound, and its seed."""

    rule_type = rules.FLAME

    noise: float = 0.001
    seed: int = 0


@dataclass(kw_only=True, eq=False, repr=False)
class FoolsGoldArguments(RuleArguments):
    """Of FoolsGold: the confidence of its logit."""

    rule_type = rules.FoolsGold

    confidence: float = 1.0


@dataclass(kw_only=True, eq=False, repr=False)
class GeometricMedianArguments(RuleArguments):
    """Of the geometric median: Weiszfeld's smoothing nu, its limits, and its `start`, which is a method's name in Flower."""

    rule_type = rules.GeometricMedian
    renamed: ClassVar[dict[str, str]] = {"start": "start_from"}

    nu: float = 1e-6
    max_iter: int = 1000
    tol: float = 1e-12
    start_from: str = "medoid"
    smoothing: str = "relative"


@dataclass(kw_only=True, eq=False, repr=False)
class LASAArguments(RuleArguments):
    """Of LASA: the share of weights that its filter does not look at, and how far lengths and signs may be from the median."""

    rule_type = rules.LASA

    sparsity: float = 0.3
    length: float = 2.0
    sign: float = 1.0


@dataclass(kw_only=True, eq=False, repr=False)
class MeaMedArguments(RuleArguments):
    """Of MeaMed: how many values nearest the median are averaged."""

    rule_type = rules.MeaMed

    keep: str = "n-f"


@dataclass(kw_only=True, eq=False, repr=False)
class MoNNAArguments(RuleArguments):
    """Of MoNNA: the trusted row; None, since a server has none of its own, takes the most central one."""

    rule_type = rules.MoNNA

    trusted: int | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class SignGuardArguments(RuleArguments):
    """Of SignGuard: bounds of the norms in medians, the share of coordinates whose signs are compared, and their seed."""

    rule_type = rules.SignGuard

    low: float = 0.1
    high: float = 3.0
    share: float = 0.1
    seed: int = 0


@dataclass(kw_only=True, eq=False, repr=False)
class FedTrimmedAvgArguments(RuleArguments):
    """Of the trimmed mean with Flower's beta: the share that is cut on each side, int(beta n) replies."""

    rule_type = rules.TrimmedMean

    beta: float = 0.2

    def default_faults(self, n: int) -> int:
        """Flower's count: int(beta n)."""
        check("FedTrimmedAvg", "beta", self.beta, Constraint(float, ge=0, lt=0.5))
        return int(self.beta * n)


@dataclass(kw_only=True, eq=False, repr=False)
class FLTrustArguments(RuleArguments):
    """Of FLTrust, which cannot do without `server_update`."""

    rule_type = rules.FLTrust

    server_update: Callable[[int, Any], Any] | None = None

    def check_policy(self) -> None:
        """Refuse to be without an update to trust, too."""
        if self.server_update is None:
            raise InvalidParameter(NO_SERVER_UPDATE.format(rule=type(self).__name__))
        other_arguments: Any = super()
        other_arguments.check_policy()
