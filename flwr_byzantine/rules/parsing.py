"""Rules by name and their f, as users write them on a command line, in a file, or give them to a strategy: "nnm+trimmed-mean", 0.2."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any, Final

import numpy as np

from flwr_byzantine.declare.names import by_name, check_options, construct
from flwr_byzantine.declare.own import OWN, resolve
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.after import CRFL, RLR, SLSGD
from flwr_byzantine.rules.base import Rule
from flwr_byzantine.rules.bulyan import Bulyan
from flwr_byzantine.rules.chains import chain
from flwr_byzantine.rules.clipping import ARC, Bucketing, CenteredClipping, Clipping
from flwr_byzantine.rules.columns import FedRDF, SignSGD
from flwr_byzantine.rules.coordinatewise import MeaMed, Median, Phocas, TrimmedMean
from flwr_byzantine.rules.detecting.base import Detector
from flwr_byzantine.rules.detecting.deepsight import DeepSight
from flwr_byzantine.rules.detecting.flanders import FLANDERS
from flwr_byzantine.rules.detecting.fldetector import FLDetector
from flwr_byzantine.rules.detecting.martingale import MartingaleFilter
from flwr_byzantine.rules.detecting.safeguard import SafeGuard
from flwr_byzantine.rules.detecting.zeno import Zeno, ZenoPlusPlus
from flwr_byzantine.rules.filters import FLAME, ClippedClustering, SignGuard
from flwr_byzantine.rules.krum import Krum, MultiKrum
from flwr_byzantine.rules.layerwise import LASA
from flwr_byzantine.rules.mixing import NNM, GeometricMedian, Mean
from flwr_byzantine.rules.nearest import CGE, MoNNA
from flwr_byzantine.rules.over import CTMA, GAS, Aksel, Over
from flwr_byzantine.rules.spectral import CAF, DnC
from flwr_byzantine.rules.subsets import MDA, SMEA
from flwr_byzantine.rules.synthetic import FoundationFL
from flwr_byzantine.rules.trust import FLTrust, FoolsGold
from flwr_byzantine.rules.weighted import AutoGM

AUTO: Final = "auto"  # an f that nobody knows: the largest that the rule allows at the replies that came
FEDAVG = "fedavg"  # the strategy without a rule: Flower's weighted average
RULES: tuple[type[Rule], ...] = (
    *(Mean, Krum, MultiKrum, Bulyan, Median, TrimmedMean, GeometricMedian, MeaMed, Phocas, CenteredClipping, CGE, MDA, SMEA, MoNNA, CAF),
    *(DnC, FLTrust, FoolsGold, SignGuard, ClippedClustering, FLAME),
    *(NNM, Bucketing, Clipping, ARC),
    *(Aksel, AutoGM, CTMA, GAS, FedRDF, SignSGD, RLR, SLSGD, CRFL, FoundationFL),
    LASA,
)

DETECTORS: tuple[type[Detector], ...] = (FLDetector, FLANDERS, DeepSight, SafeGuard, MartingaleFilter, Zeno, ZenoPlusPlus)


def detectors() -> list[type[Detector]]:
    """Every detector class, sorted by name; a rule follows it: `parse("fldetector+median", f=2)`.

    Example:
        >>> [detector.__name__ for detector in detectors()][:2]
        ['DeepSight', 'FLANDERS']
    """
    return sorted(DETECTORS, key=lambda detector: detector.__name__)


def available() -> list[type[Rule]]:
    """Every rule class but the detectors, sorted by name.

    Example:
        >>> [rule.__name__ for rule in available()][:2]
        ['ARC', 'Aksel']
    """
    return sorted(RULES, key=lambda rule: rule.__name__)


def get(name: str) -> type[Rule]:
    """The class of the rule or detector called `name`, whatever its case, hyphens or underscores, or one's own, "module:Class".

    Raises:
        InvalidParameter: there is none, the message names the nearest and lists all; the module or its class is none.

    Example:
        >>> get("multi-krum").__name__
        'MultiKrum'
    """
    return _own(name) if isinstance(name, str) and OWN.fullmatch(name) else by_name("rule", name, (*RULES, *DETECTORS))


def _own(name: str) -> type[Rule]:
    found = resolve(name, "rule")
    if not (isinstance(found, type) and issubclass(found, Rule)):
        raise InvalidParameter(f"rule {name!r}: expected a class derived from flwr_byzantine.rules.Rule, got {found!r}")
    return found


def parse(text: str, f: int, **options: Any) -> Rule:
    """The rule or chain called `text`: names joined by "+", each with this f and those of the options it has.

    A rule over another has that one in brackets, or as its option `base`.

    Args:
        text: e.g. "krum", "multi-krum", "nnm+trimmed-mean", "gas(krum)", "arc+ctma(nnm+krum)".
        f: number of Byzantine updates to withstand.
        options: further parameters, e.g. s=2 for bucketing.

    Raises:
        InvalidParameter: an unknown name, an option that none of the rules has, or a value that it cannot have.

    Example:
        >>> str(parse("nnm+trimmed-mean", f=2))
        'NNM(f=2) + TrimmedMean(f=2)'
        >>> str(parse("ctma(median)", f=2))
        'CTMA(f=2, base=Median(f=2))'
    """
    if not isinstance(text, str):
        raise InvalidParameter(f"expected a rule's name, such as 'nnm+trimmed-mean', got {text!r}")
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


def names_in(text: str) -> list[str]:
    """The names of all rules in `text`, in their order.

    Example:
        >>> names_in("arc+gas(nnm+krum)")
        ['arc', 'gas', 'nnm', 'krum']
    """
    return [name.strip() for name in re.split(r"[+()]", text) if name.strip()]


def parts_of(text: str) -> list[str]:
    """The parts of a chain, each with what it has in brackets.

    Example:
        >>> parts_of("arc+gas(nnm+krum)")
        ['arc', 'gas(nnm+krum)']
    """
    depths = np.cumsum([(sign == "(") - (sign == ")") for sign in text])
    cuts = [-1, *(k for k, sign in enumerate(text) if sign == "+" and depths[k] == 0), len(text)]
    return [text[start + 1 : stop] for start, stop in pairwise(cuts)]


def _built(text: str, f: int, options: Mapping[str, Any]) -> Rule:
    classes = [get(name) for name in names_in(text) or [text]]
    check_options(text, options, {item.name for cls in classes for item in fields(cls)} - {"f"})
    return _parts(text, f, options)


def _parts(text: str, f: int, options: Mapping[str, Any]) -> Rule:
    return chain(*(_one(part, f, options) for part in parts_of(text)))


def _one(part: str, f: int, options: Mapping[str, Any]) -> Rule:
    """One rule of a chain, over the one in its brackets where there is one."""
    name, _, inner = part.partition("(")
    cls, given = get(name.strip()), {"f": f, **options}
    known = {item.name for item in fields(cls)}
    if inner:
        if "base" not in known or not inner.endswith(")"):
            over = ", ".join(cls.__name__ for cls in RULES if issubclass(cls, Over))
            raise InvalidParameter(f"{part!r}: brackets are for the rule that a rule works over, as in 'gas(krum)'; those are {over}")
        given["base"] = _parts(inner[:-1], f, {name: value for name, value in options.items() if name != "base"})
    elif isinstance(given.get("base"), str):
        given["base"] = parse(str(given["base"]), f)
    return construct(cls, {name: given[name] for name in known if name in given})


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
