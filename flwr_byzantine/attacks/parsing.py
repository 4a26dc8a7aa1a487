"""Attacks by name, as users write them on a command line or in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from flwr_byzantine import attacks
from flwr_byzantine.attacks.base import Attack
from flwr_byzantine.declare.names import check_options, construct

NO_ATTACK = "none"


def parse_attack(name: str, options: Mapping[str, Any] | None = None) -> Attack | None:
    """The attack called `name`; None for "none".

    Args:
        name: "none", or an attack's name, whatever its case, hyphens or underscores.
        options: its parameters. An attack that wraps another one takes that as a name, or as a mapping of "name" and
            its options, which may be written with hyphens.

    Raises:
        InvalidParameter: an unknown attack or option, or a value that it cannot have.

    Example:
        >>> parse_attack("alie", {"z": 1.5}), parse_attack("none")
        (ALIE(z=1.5, form='paper'), None)
        >>> parse_attack("on-off", {"attack": {"name": "sign-flip", "scale": 3.0}}).attack
        SignFlip(scale=3.0)
    """
    given = dict(options or {})
    if name == NO_ATTACK:
        check_options(name, given, ())
        return None
    cls = attacks.get(name)
    check_options(name, given, {item.name for item in fields(cls)})
    return construct(cls, given | {key: _inner(given[key]) for key in given if key == "attack"})


def _inner(value: Any) -> Any:
    """The attack that another one wraps, where it is given by name."""
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        return value
    return parse_attack(table["name"], {key.replace("-", "_"): option for key, option in table.items() if key != "name"})
