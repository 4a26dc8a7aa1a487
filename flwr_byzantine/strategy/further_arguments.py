"""As `rule_arguments`, for the rules of `further`: those over another rule, and those of later years."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flwr_byzantine import rules
from flwr_byzantine.rules.after import MEAN
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.over import KRUM, MEDIAN
from flwr_byzantine.rules.parsing import parse
from flwr_byzantine.strategy.arguments import RuleArguments


@dataclass(kw_only=True, eq=False, repr=False)
class OverArguments(RuleArguments):
    """Of a rule over another: that one, as a rule for any f, or by name, such as "nnm+krum"."""

    base: Rule | str

    def argument(self, name: str, f: int) -> Any:
        """A name as the rule that it is."""
        value = super().argument(name, f)
        return parse(value, f) if name == "base" and isinstance(value, str) else value


@dataclass(kw_only=True, eq=False, repr=False)
class CTMAArguments(OverArguments):
    """Of CTMA: the rule whose answer is the centre."""

    rule_type = rules.CTMA

    base: Rule | str = MEDIAN


@dataclass(kw_only=True, eq=False, repr=False)
class GASArguments(OverArguments):
    """Of GAS: the rule that aggregates each group, how many groups, and the seed of who is in which."""

    rule_type = rules.GAS

    base: Rule | str = KRUM
    p: int = 1000
    seed: int = 0


@dataclass(kw_only=True, eq=False, repr=False)
class RLRArguments(OverArguments):
    """Of RLR: the rule whose aggregate is turned, and how many signs must agree; f + 1 by default."""

    rule_type = rules.RLR

    base: Rule | str = MEAN
    theta: int | None = None


@dataclass(kw_only=True, eq=False, repr=False)
class CRFLArguments(OverArguments):
    """Of CRFL: the rule that aggregates, the model's largest norm and how it grows, and the noise."""

    rule_type = rules.CRFL

    base: Rule | str = MEAN
    radius: float = 2.0
    growth: float = 0.1
    noise: float = 0.01
    seed: int = 0


@dataclass(kw_only=True, eq=False, repr=False)
class AkselArguments(RuleArguments):
    """Of Aksel: how many replies are averaged."""

    rule_type = rules.Aksel

    keep: str = "n-f"


@dataclass(kw_only=True, eq=False, repr=False)
class AutoGMArguments(RuleArguments):
    """Of AutoGM: lambda, n by default, and its limit of turns."""

    rule_type = rules.AutoGM

    lam: float | None = None
    max_iter: int = 100


@dataclass(kw_only=True, eq=False, repr=False)
class FedRDFArguments(RuleArguments):
    """Of FedRDF: how a value is chosen, and by how many harmonics."""

    rule_type = rules.FedRDF

    select: str = "density"
    harmonics: int = 8


@dataclass(kw_only=True, eq=False, repr=False)
class SignSGDArguments(RuleArguments):
    """Of signSGD: how far each coordinate moves in a round, since clients send models; small, where the rule itself has 1."""

    rule_type = rules.SignSGD

    eta: float = 0.001


@dataclass(kw_only=True, eq=False, repr=False)
class SLSGDArguments(RuleArguments):
    """Of SLSGD: alpha, the part of the way that the model goes."""

    rule_type = rules.SLSGD

    alpha: float = 0.5
