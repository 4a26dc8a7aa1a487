"""The keys of a cell's configuration: what each may be, what it is where nothing is said, and one value checked."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any

from flwr_byzantine import attacks
from flwr_byzantine.declare.params import Constraint
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks.task import DATASETS, Task
from flwr_byzantine.rules import Rule, get
from flwr_byzantine.rules.parsing import parse_rule

PLAIN, NO_ATTACK = "fedavg", "none"
SCORED = 0.1  # share of the training data that the server holds back, where the file does not say
_OWN = {"dataset": Constraint(str, choices=DATASETS), "alpha": Constraint(float, gt=0), "hidden": Constraint(list)}
TASK: dict[str, Constraint] = {
    item.name: _OWN.get(item.name) or item.metadata["constraint"] for item in fields(Task) if item.name != "data_root"
}
CELL: dict[str, Constraint] = {
    **TASK,
    "strategy": Constraint(str),
    "attack": Constraint(str),
    "f": Constraint(int, ge=0),
    "rounds": Constraint(int, ge=1),
    "engine": Constraint(str, choices=("local", "ray")),
    "evaluate_every": Constraint(int, ge=1),
}
DEFAULTS: dict[str, Any] = {item.name: item.default for item in fields(Task) if item.name in TASK and item.default is not MISSING} | {
    "hidden": [],
    "validation": SCORED,
    "strategy": (PLAIN, {}),
    "attack": (NO_ATTACK, {}),
    "rounds": 20,
    "engine": "local",
    "evaluate_every": 1,
}


def key_of(text: str) -> str:
    """A key as the results spell it: the file may use hyphens.

    Example:
        >>> key_of("num-malicious")
        'num_malicious'
    """
    return text.replace("-", "_")


def shown(key: str) -> str:
    """A key as the file spells it."""
    return key.replace("_", "-")


def unknown(where: str, given: str, known: Iterable[str]) -> InvalidParameter:
    """The error for a name that is none, with the nearest that is and all there are.

    Example:
        >>> str(unknown("a.toml: key in [task]", "lrr", ["lr", "seed"]))
        "a.toml: key in [task] 'lrr' is unknown; did you mean 'lr'? choose one of: lr, seed"
    """
    names = sorted(known)
    near = difflib.get_close_matches(given.lower(), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InvalidParameter(f"{where} {given!r} is unknown; {hint}choose one of: {', '.join(names)}")


def checked(where: str, key: str, value: Any) -> Any:
    """One value of a key as the results hold it.

    Strategies and attacks become (name, options); a number without a point is a float where one is wanted.

    Args:
        where: file and table, for the message.
        key: one of `CELL`.
        value: as read from the file.

    Raises:
        InvalidParameter: a value that the key cannot have.

    Example:
        >>> checked("a.toml: [task]", "lr", 1), checked("a.toml: [task]", "attack", {"name": "ALIE", "z": 1.5})
        (1.0, ('alie', {'z': 1.5}))
    """
    if key in ("strategy", "attack"):
        return _named(f"{where} {shown(key)}", key, value)
    constraint = CELL[key]
    _finite(f"{where} {shown(key)}", value)
    if not constraint.accepts(value) or (key == "hidden" and not all(Constraint(int, ge=1).accepts(width) for width in value)):
        wanted = "a list of integers >= 1" if key == "hidden" else constraint
        raise InvalidParameter(f"{where} {shown(key)} must be {wanted}, got {value!r}")
    return float(value) if constraint.kind is float else value


def _named(where: str, key: str, value: Any) -> tuple[str, dict[str, Any]]:
    """Name and options from "alie" or {name = "alie", z = 1.5}, tried out."""
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        raise InvalidParameter(f'{where} must be a name or a table such as {{name = "alie", z = 1.5}}, got {value!r}')
    _finite(where, table)
    name = table["name"].lower().replace(" ", "").replace("_", "-")
    options = {key_of(option): choice for option, choice in table.items() if option != "name"}
    make = strategy_of if key == "strategy" else attack_of
    try:
        make(name, options)
    except InvalidParameter as error:
        raise InvalidParameter(f"{where}: {error}") from None
    except TypeError as error:
        raise InvalidParameter(f"{where}: {name!r} cannot have the options {options}: {error}") from None
    return name, options


def _finite(where: str, value: Any) -> None:
    """Results are JSON, which knows no infinity."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in values:
        _finite(where, item)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidParameter(f"{where} must be finite, got {value!r}")


def strategy_of(name: str, options: dict[str, Any], f: int = 0) -> Rule | None:
    """The rule or chain called `name`; None for "fedavg".

    Raises:
        InvalidParameter: an unknown rule or option, or a value that it cannot have.

    Example:
        >>> str(strategy_of("nnm+krum", {}, f=2))
        'NNM(f=2) + Krum(f=2)'
    """
    parts = [] if name == PLAIN else name.split("+")
    known = {option.name for part in parts for option in fields(get(part))} - {"f"}  # type: ignore[arg-type]
    _check_options(name, options, known)
    return parse_rule(name, f, **options) if parts else None


def attack_of(name: str, options: dict[str, Any]) -> attacks.Attack | None:
    """The attack called `name`; None for "none". Attacks that wrap another take it as a name, or a table with its options.

    Raises:
        InvalidParameter: an unknown attack or option, or a value that it cannot have.

    Example:
        >>> attack_of("alie", {"z": 1.5})
        ALIE(z=1.5)
    """
    cls = None if name == NO_ATTACK else attacks.get(name)
    _check_options(name, options, set() if cls is None else {item.name for item in fields(cls)})  # type: ignore[arg-type]
    inner = options.get("attack")
    if isinstance(inner, str):
        options = options | {"attack": attack_of(inner, {})}
    elif isinstance(inner, dict) and isinstance(inner.get("name"), str):
        options = options | {"attack": attack_of(inner["name"], {key_of(key): value for key, value in inner.items() if key != "name"})}
    return None if cls is None else cls(**options)


def _check_options(name: str, options: dict[str, Any], known: set[str]) -> None:
    for option in options:
        if option not in known:
            if not known:
                raise InvalidParameter(f"{name!r} has no options, got {option!r}")
            raise unknown(f"option of {name!r}", option, known)
