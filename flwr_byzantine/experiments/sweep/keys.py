"""The keys of a cell's configuration: what each may be, and one value checked. Defaults are in `experiments.defaults`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

from flwr_byzantine.attacks.parsing import parse_attack
from flwr_byzantine.declare.own import OWN
from flwr_byzantine.declare.params import Constraint
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.datasets import check_dataset
from flwr_byzantine.experiments.defaults import NAMED
from flwr_byzantine.experiments.models import known
from flwr_byzantine.experiments.results import snake
from flwr_byzantine.experiments.tasks.partition_options import check_partition
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.rules.parsing import AUTO, parse_strategy

LISTS = ("hidden", "milestones")  # keys whose value is a list of integers from 1 on
PLAN = "plan"  # an f that follows from the sampling plan; "auto" is the most that the rule allows
_OWN = {
    "dataset": Constraint(str),
    "partition": Constraint(str),
    "alpha": Constraint(float, gt=0),
    **dict.fromkeys(LISTS, Constraint(list)),
}
TASK: dict[str, Constraint] = {
    item.name: _OWN.get(item.name) or item.metadata["constraint"]
    for item in fields(Task)
    if item.name != "data_root" and not item.name.endswith("_options")
}
CELL: dict[str, Constraint] = {
    **TASK,
    "strategy": Constraint(str),
    "attack": Constraint(str),
    "f": Constraint(int, ge=0, either=Constraint(float, ge=0, lt=0.5, either=Constraint(str, choices=(PLAN, AUTO)))),
    "plan_failure": Constraint(float, gt=0, lt=1),
    "rounds": Constraint(int, ge=1),
    "engine": Constraint(str, choices=("local", "batched", "ray")),
    "evaluate_every": Constraint(int, ge=1),
}


TRIED: dict[str, Callable[[str, dict[str, Any]], object]] = {  # keys whose value is a name with options, and how these are checked
    "strategy": lambda name, options: parse_strategy(name, 0, options),
    "attack": parse_attack,
    "dataset": check_dataset,
    "partition": check_partition,
}


APP = "app."  # what keys of an app's run config begin with
EXAMPLES = {
    "strategy": '{name = "centered-clipping", tau = 10.0}',
    "attack": '{name = "alie", z = 1.5}',
    "dataset": '{name = "my_data:load", rows = 100}',
    "partition": '{name = "pathological", num-classes-per-partition = 2}',
}


def key_of(text: str) -> str:
    """A key as the results spell it: the file may use hyphens, and has the keys of an app's run config as "app.key".

    Example:
        >>> key_of("num-malicious"), key_of("app.learning-rate")
        ('num_malicious', 'app_learning_rate')
    """
    return snake(text) if text.startswith(APP) else text.replace("-", "_")


def shown(key: str) -> str:
    """A key as the file spells it.

    Example:
        >>> shown("app_learning_rate")
        'app.learning-rate'
    """
    return APP * key.startswith(snake(APP) + "_") + key.removeprefix(snake(APP) + "_").replace("_", "-")


def checked(where: str, key: str, value: Any) -> Any:
    """One value of a key as the results hold it.

    Strategies, attacks, data sets and partitions become (name, options); a number without a point is a float where one is wanted.

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
    if key in TRIED:
        return _named(f"{where} {shown(key)}", key, value)
    constraint = CELL[key]
    check_finite(f"{where} {shown(key)}", value)
    if key == "model" and isinstance(value, str):
        return known(value, f"{where} model: ")
    if not constraint.accepts(value) or (key in LISTS and not all(Constraint(int, ge=1).accepts(item) for item in value)):
        wanted = "a list of integers >= 1" if key in LISTS else constraint
        raise InvalidParameter(f"{where} {shown(key)} must be {wanted}, got {value!r}")
    return float(value) if constraint.kind is float else value


def _named(where: str, key: str, value: Any) -> tuple[str, dict[str, Any]]:
    """Name and options from "alie" or {name = "alie", z = 1.5}, tried out."""
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        raise InvalidParameter(f"{where} must be a name or a table such as {EXAMPLES[key]}, got {value!r}")
    check_finite(where, table)
    name = table["name"] if key in NAMED else "".join(map(_plain, re.split(r"([+()])", table["name"])))
    options = {key_of(option): choice for option, choice in table.items() if option != "name"}
    try:
        TRIED[key](name, options)
    except InvalidParameter as error:
        raise InvalidParameter(f"{where}: {_as_written(str(error), (option for option in table if '-' in option))}") from None
    return name, options


def in_file(error: InvalidParameter) -> str:
    """The sentence of an error with the keys of a cell as the file spells them.

    Example:
        >>> in_file(InvalidParameter("task: clients_per_round must be at most num_clients = 20, got 30"))
        'task: clients-per-round must be at most num-clients = 20, got 30'
    """
    return _as_written(str(error), (shown(key) for key in CELL if "_" in key))


def _as_written(text: str, names: Iterable[str]) -> str:
    """The text with names of Python as the file has them, but for those in paths."""
    written = {key_of(name): name for name in names}
    found = rf"(?<![\w:./-])({'|'.join(map(re.escape, written))})(?![\w/-]|[.:]\w)"
    return re.sub(found, lambda match: written[match[1]], text) if written else text


def _plain(name: str) -> str:
    """One rule's or attack's name as the results hold it; those of one's own, "module:Class", as they are."""
    return name.strip() if OWN.fullmatch(name.strip()) else name.lower().replace(" ", "").replace("_", "-")


def check_finite(where: str, value: Any) -> None:
    """Raise `InvalidParameter` for a number that is not finite, since results are JSON."""
    for option, item in value.items() if isinstance(value, dict) else ():
        check_finite(f"{where} {option}", item)
    for item in value if isinstance(value, list) else ():
        check_finite(where, item)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidParameter(f"{where} must be finite, got {value!r}")
