"""What each key of a cell is where nothing is said, and how keys that came later leave the hashes of earlier cells alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.rules.parsing import FEDAVG

NAMED = ("dataset", "partition")  # keys of a task whose value is a name with options
VALIDATION_SHARE = 0.1  # share of the training data that the server holds back, where the file does not say
DEFAULTS: dict[str, Any] = {
    **{item.name: item.default for item in fields(Task) if item.name != "data_root" and not item.name.endswith("_options")},
    **{key: (Task.__dataclass_fields__[key].default, {}) for key in NAMED},
    "hidden": [],
    "milestones": [],
    "plan_failure": 0.01,
    "validation": VALIDATION_SHARE,
    "strategy": (FEDAVG, {}),
    "attack": (NO_ATTACK, {}),
    "rounds": 20,
    "engine": "batched",
    "evaluate_every": 1,
}
FIRST = {  # the keys that cells had when results were first kept; a new key never goes in here
    *("dataset", "model", "hidden", "partition", "alpha", "gamma", "shares", "num_clients", "num_malicious", "f", "validation", "seed"),
    *("method", "optimizer", "local_epochs", "local_steps", "batch_size", "lr", "momentum", "weight_decay"),
    *("strategy", "strategy_options", "attack", "attack_options", "rounds", "engine", "evaluate_every"),
}
LATER: dict[str, Any] = {
    **{key: value for key, value in DEFAULTS.items() if key not in FIRST},
    **{f"{key}_options": {} for key in NAMED},
}


def stored(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as it is hashed and written: a key that is not one of the first is left out where it has its default.

    So a cell keeps its key, and its result, when cells get a new key with a default that changes nothing.
    """
    return {key: value for key, value in config.items() if key not in LATER or value != LATER[key]}


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `stored` wrote, with all keys.

    Example:
        >>> completed(stored({"strategy": "krum", **LATER})) == {"strategy": "krum", **LATER}
        True
    """
    return {**LATER, **config}
