"""Attacks: frozen dataclasses, pure functions on updates. Loads neither flwr nor torch."""

from __future__ import annotations

from flwr_byzantine.attacks.adaptive import Adaptive
from flwr_byzantine.attacks.backdoors import Backdoor, DistributedBackdoor, EdgeCaseBackdoor
from flwr_byzantine.attacks.base import Attack, AttackContext, OwnAttack
from flwr_byzantine.attacks.colluding import ALIE, IPM, PGA, MinMax, MinSum
from flwr_byzantine.attacks.data import DataAttack, DynamicLabelFlip, LabelFlip
from flwr_byzantine.attacks.fake import MPAF, DisguisedFreeRider, Sybil
from flwr_byzantine.attacks.fang import FangKrum, FangTrimmedMean
from flwr_byzantine.attacks.mimic import Mimic
from flwr_byzantine.attacks.multi_round import Drift, OnOff
from flwr_byzantine.attacks.own import Gaussian, Inf, NaNs, Scaling, SignFlip, Zero
from flwr_byzantine.attacks.tailored import AGRTailored, OptimalALIE, OptimalIPM
from flwr_byzantine.declare.names import by_name

__all__ = [
    "ALIE",
    "IPM",
    "MPAF",
    "PGA",
    "AGRTailored",
    "Adaptive",
    "Attack",
    "AttackContext",
    "Backdoor",
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
    "OptimalALIE",
    "OptimalIPM",
    "OwnAttack",
    "Scaling",
    "SignFlip",
    "Sybil",
    "Zero",
    "available",
    "get",
]


def available() -> list[type[Attack]]:
    """Every attack class, sorted by name; each says in `knowledge` what it must see.

    Example:
        >>> [attack.__name__ for attack in available()][:2]
        ['AGRTailored', 'ALIE']
    """
    exported = [globals()[name] for name in __all__]
    found = [item for item in exported if isinstance(item, type) and issubclass(item, Attack)]
    return sorted((item for item in found if item not in (Attack, DataAttack, OwnAttack)), key=lambda item: item.__name__)


def get(name: str) -> type[Attack]:
    """The attack class called `name`, whatever its case, hyphens or underscores.

    Raises:
        InvalidParameter: there is none; the message lists those there are.

    Example:
        >>> get("sign-flip").__name__
        'SignFlip'
    """
    return by_name("attack", name, available())
