"""The parameters of detectors as a strategy's arguments, for both Flower APIs, and the rule that runs over those who are left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flwr_byzantine import rules
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.chains import chain
from flwr_byzantine.rules.parsing import parse
from flwr_byzantine.strategy.arguments import RuleArguments, aggregating
from flwr_byzantine.strategy.trusted import NO_SERVER_UPDATE


@dataclass(kw_only=True, eq=False, repr=False)
class DetectorArguments(RuleArguments):
    """Of every detector.

    Attributes:
        then: the rule, or chain, over those who are left, for any f, or its name, such as "median"; the papers average.
    """

    then: Rule | str = "mean"

    def rule_with(self, f: int) -> Rule:
        """The detector, and the rule after it."""
        rest = self.then.with_f(f) if isinstance(self.then, Rule) else parse(self.then, f)
        return chain(super().rule_with(f), aggregating(rest))


@dataclass(kw_only=True, eq=False, repr=False)
class FLDetectorArguments(DetectorArguments):
    """Of FLDetector, as of the stage `rules.FLDetector`."""

    rule_type = rules.FLDetector

    window: int = 10
    references: int = 20
    remember: int = 1000
    seed: int = 0


@dataclass(kw_only=True, eq=False, repr=False)
class FLANDERSArguments(DetectorArguments):
    """Of FLANDERS, as of the stage `rules.FLANDERS`."""

    rule_type = rules.FLANDERS

    window: int = 10
    sampling: int = 500
    max_iter: int = 100
    remember: int = 1000
    seed: int = 0


@dataclass(kw_only=True, eq=False, repr=False)
class DeepSightArguments(DetectorArguments):
    """Of DeepSight, as of the stage `rules.DeepSight`."""

    rule_type = rules.DeepSight

    tau: float = 1 / 3
    min_cluster: int = 5


@dataclass(kw_only=True, eq=False, repr=False)
class SafeGuardArguments(DetectorArguments):
    """Of SafeGuard, as of the stage `rules.SafeGuard`."""

    rule_type = rules.SafeGuard

    short: int = 10
    long: int = 60
    short_threshold: float | None = None
    long_threshold: float | None = None
    reset: bool = False
    remember: int = 1000


@dataclass(kw_only=True, eq=False, repr=False)
class MartingaleFilterArguments(DetectorArguments):
    """Of MartingaleFilter, as of the stage `rules.MartingaleFilter`."""

    rule_type = rules.MartingaleFilter

    deviation: float | None = None
    diameter: float | None = None
    rounds: int = 1000
    delta: float = 0.01
    remember: int = 1000


@dataclass(kw_only=True, eq=False, repr=False)
class ZenoArguments(DetectorArguments):
    """Of Zeno, as of the stage `rules.Zeno`."""

    rule_type = rules.Zeno

    server_loss: Callable[[int, dict[str, Any]], float] | None = None
    rho: float = 0.0005
    gamma: float = 1.0

    def check_policy(self) -> None:
        """Refuse to be without the server's loss, too."""
        if self.server_loss is None:
            raise InvalidParameter("Zeno compares losses on data of the server's own: pass server_loss=, a function of round and arrays")
        other_arguments: Any = super()
        other_arguments.check_policy()


@dataclass(kw_only=True, eq=False, repr=False)
class ZenoPlusPlusArguments(DetectorArguments):
    """Of ZenoPlusPlus, as of the stage `rules.ZenoPlusPlus`."""

    rule_type = rules.ZenoPlusPlus

    server_update: Callable[[int, Any], Any] | None = None
    rho: float = 0.0005
    epsilon: float = 0.0
    gamma: float = 1.0

    def check_policy(self) -> None:
        """Refuse to be without an update to trust, too."""
        if self.server_update is None:
            raise InvalidParameter(NO_SERVER_UPDATE.format(rule="ZenoPlusPlus"))
        other_arguments: Any = super()
        other_arguments.check_policy()
