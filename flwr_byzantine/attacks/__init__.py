"""Attacks: frozen dataclasses, pure functions from what an attacker knows to the updates that it sends.

| module | what it holds |
|---|---|
| `base` | what an attack is: `Attack` and its kinds, `AttackContext`, `rng_of` |
| `attackers` | one attacker over the rounds of a federation: what mods, clients and Grids run |
| `simple`, `fake_clients`, `multi_round` | attacks that need the client's own update only |
| `data`, `backdoors`, `pixel_backdoors` | attacks on the client's training data |
| `training`, `trained_backdoors`, `threedfed` | backdoors that decide how their client trains |
| `colluding`, `fang`, `mimic` | attacks that need all honest updates |
| `undetected` | the attack that learns what passes the server's detectors |
| `rule_aware`, `adaptive` | attacks that need the server's rule too; they try it out by `simulated_rule`, `line_search` and `ascent` |
| `catalogue` | all attacks but the adaptive one: a new attack is added here and below |
| `poisoning`, `poisoned_views`, `success` | poisoned views of data sets, and whether they worked |
| `parsing` | attacks by name |

May import `errors`, `arrays`, `declare` and `rules`; neither Flower nor torch is loaded.
"""

from __future__ import annotations

from flwr_byzantine.attacks.adaptive import Adaptive
from flwr_byzantine.attacks.backdoors import EdgeCaseBackdoor
from flwr_byzantine.attacks.base import Attack, AttackContext, OwnAttack
from flwr_byzantine.attacks.catalogue import FIXED
from flwr_byzantine.attacks.colluding import ALIE, IPM, PGA, MinMax, MinSum
from flwr_byzantine.attacks.data import DataAttack, DynamicLabelFlip, LabelFlip
from flwr_byzantine.attacks.fake_clients import MPAF, DisguisedFreeRider, Sybil
from flwr_byzantine.attacks.fang import FangKrum, FangTrimmedMean
from flwr_byzantine.attacks.mimic import Mimic
from flwr_byzantine.attacks.multi_round import Drift, OnOff
from flwr_byzantine.attacks.pixel_backdoors import Backdoor, DistributedBackdoor
from flwr_byzantine.attacks.rule_aware import AGRTailored, OneCoordinate, OptimalALIE, OptimalIPM
from flwr_byzantine.attacks.simple import Gaussian, Inf, NaNs, Scaling, SignFlip, Zero
from flwr_byzantine.attacks.threedfed import ThreeDFed
from flwr_byzantine.attacks.trained_backdoors import AlternatingMinimization, BackdoorCriticalLayers
from flwr_byzantine.attacks.undetected import Undetected
from flwr_byzantine.declare.names import by_name

__all__ = [
    "ALIE",
    "IPM",
    "MPAF",
    "PGA",
    "AGRTailored",
    "Adaptive",
    "AlternatingMinimization",
    "Attack",
    "AttackContext",
    "Backdoor",
    "BackdoorCriticalLayers",
    "DataAttack",
    "DisguisedFreeRider",
    "DistributedBackdoor",
    "Drift",
    "DynamicLabelFlip",
    "EdgeCaseBackdoor",
    "FangKrum",
    "FangTrimmedMean",
    "Gaussian",
    "Inf",
    "LabelFlip",
    "Mimic",
    "MinMax",
    "MinSum",
    "NaNs",
    "OnOff",
    "OneCoordinate",
    "OptimalALIE",
    "OptimalIPM",
    "OwnAttack",
    "Scaling",
    "SignFlip",
    "Sybil",
    "ThreeDFed",
    "Undetected",
    "Zero",
    "available",
    "get",
]


ALIASES = {"3dfed": "ThreeDFed"}  # names that no class can have


def available() -> list[type[Attack]]:
    """Every attack class, sorted by name; each says in `knowledge` what it must see.

    Example:
        >>> [attack.__name__ for attack in available()][:2]
        ['AGRTailored', 'ALIE']
    """
    return sorted((*FIXED, Adaptive), key=lambda item: item.__name__)


def get(name: str) -> type[Attack]:
    """The attack class called `name`, whatever its case, hyphens or underscores.

    Raises:
        InvalidParameter: there is none; the message lists those there are.

    Example:
        >>> get("sign-flip").__name__
        'SignFlip'
    """
    return by_name("attack", ALIASES.get(name.lower(), name) if isinstance(name, str) else name, available())
