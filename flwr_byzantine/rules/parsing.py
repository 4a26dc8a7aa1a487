"""Rules by name and their f, as users write them on a command line, in a file, or give them to a strategy: "nnm+trimmed-mean", 0.2."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from flwr_byzantine.declare.names import by_name, check_options, construct
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.chains import chain
from flwr_byzantine.rules.clipping import ARC, Bucketing, CenteredClipping, Clipping
from flwr_byzantine.rules.coordinatewise import MeaMed, Median, Phocas, TrimmedMean
from flwr_byzantine.rules.filters import FLAME, ClippedClustering, SignGuard
from flwr_byzantine.rules.krum import Bulyan, Krum, MultiKrum
from flwr_byzantine.rules.mixing import NNM, GeometricMedian, Mean
from flwr_byzantine.rules.nearest import CGE, MoNNA
from flwr_byzantine.rules.spectral import CAF, DnC
from flwr_byzantine.rules.subsets import MDA, SMEA
from flwr_byzantine.rules.trust import FLTrust, FoolsGold

AUTO: Final = "auto"  # an f that nobody knows: the largest that the rule allows at the replies that came
FEDAVG = "fedavg"  # the strategy without a rule: Flower's weighted average
RULES: tuple[type[Rule], ...] = (
    *(Mean, Krum, MultiKrum, Bulyan, Median, TrimmedMean, GeometricMedian, MeaMed, Phocas, CenteredClipping, CGE, MDA, SMEA, MoNNA, CAF),
    *(DnC, FLTrust, FoolsGold, SignGuard, ClippedClustering, FLAME),
    *(NNM, Bucketing, Clipping, ARC),
)


def available() -> list[type[Rule]]:
    """Every rule class, sorted by name.

    Example:
        >>> [rule.__name__ for rule in available()][:2]
        ['ARC', 'Bucketing']
    """
    return sorted(RULES, key=lambda rule: rule.__name__)


def get(name: str) -> type[Rule]:
    """The rule class called `name`, whatever its case, hyphens or underscores.

    Raises:
        InvalidParameter: there is none; the message names the nearest and lists all.

    Example:
        >>> get("multi-krum").__name__
        'MultiKrum'
    """
    return by_name("rule", name, RULES)


def parse(text: str, f: int, **options: Any) -> Rule:
    """The rule or chain called `text`: names joined by "+", each with this f and those of the options it has.

    Args:
        text: e.g. "krum", "multi-krum", "nnm+trimmed-mean".
        f: number of Byzantine updates to withstand.
        options: further parameters, e.g. s=2 for bucketing.

    Raises:
        InvalidParameter: an unknown name, an option that none of the rules has, or a value that it cannot have.

    Example:
        >>> str(parse("nnm+trimmed-mean", f=2))
        'NNM(f=2) + TrimmedMean(f=2)'
    """
    return _built(text, f, options)


def parse_strategy(name: str, f: int, options: Mapping[str, Any] | None = None) -> Rule | None:
    """The rule of the strategy called `name`; None for "fedavg".

    Args:
        name: "fedavg", or a rule or chain as `parse` takes it.
        f: number of Byzantine updates to withstand.
        options: further parameters.

    Raises:
        InvalidParameter: as `parse`; options of "fedavg"; f among the options.

    Example:
        >>> parse_strategy("FedAvg", 2), parse_strategy("trimmed-mean", 2)
        (None, TrimmedMean(f=2))
    """
    if name.lower() == FEDAVG:
        check_options(name, options or {}, ())
        return None
    return _built(name, f, options or {})


def _built(text: str, f: int, options: Mapping[str, Any]) -> Rule:
    classes = [get(name) for name in text.split("+")]
    check_options(text, options, {item.name for cls in classes for item in fields(cls)} - {"f"})
    return chain(*(_one(cls, {"f": f, **options}) for cls in classes))


def _one(cls: type[Rule], given: Mapping[str, Any]) -> Rule:
    return construct(cls, {item.name: given[item.name] for item in fields(cls) if item.name in given})


def largest(rule: Rule, n: int) -> Rule:
    """The same rule for the largest f that it allows at n rows, its `breakdown`; for 0 where n is below every `min_n`.

    Example:
        >>> str(largest(Krum(f=0), 11)), str(largest(Krum(f=0), 2))
        ('Krum(f=4)', 'Krum(f=0)')
    """
    return rule.with_f(max(0, rule.breakdown(n)))


def faults(f: int | float, n: int) -> int:
    """The number f at n replies, from a count or from a share, which is rounded down.

    Raises:
        InvalidParameter: f is negative, or neither an integer nor a share below 1/2.

    Example:
        >>> faults(2, 11), faults(0.2, 11)
        (2, 2)
    """
    if isinstance(f, float):
        check("strategy", "f", f, Constraint(float, ge=0, lt=0.5))
        return math.floor(f * n + 1e-9)
    if isinstance(f, str):
        raise InvalidParameter(f"strategy: f must be a count, a share such as 0.2, or {AUTO!r}, got {f!r}")
    check("strategy", "f", f, Constraint(int, ge=0))
    return int(f)
