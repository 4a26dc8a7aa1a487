"""What can be tried out before a sweep runs: attacks on made-up updates and examples."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np

from flwr_byzantine.attacks import Attack
from flwr_byzantine.attacks.parsing import parse_attack
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.datasets import DATASETS
from flwr_byzantine.experiments.tasks.data import root_of
from flwr_byzantine.experiments.tasks.options import frozen
from flwr_byzantine.experiments.tasks.participation import possible
from flwr_byzantine.experiments.tasks.poisoned import check_examples
from flwr_byzantine.experiments.tasks.sources import read
from flwr_byzantine.experiments.tasks.task import Task

Kind = tuple[tuple[int, ...], int, int]
"""Of a data set's examples: their shape, the number of classes, and of tokens."""


def try_attack(config: dict[str, Any], task: Task) -> None:
    """Mount the attack of a cell on made-up updates or examples, once for each number of attackers that a round may hold.

    Slow attacks, which search against the rule, are left out.

    Raises:
        InvalidParameter: the attack cannot be carried out on such data, or with so many clients.
    """
    options, n = json.dumps(config["attack_options"], sort_keys=True), task.per_round
    attack = parse_attack(config["attack"], config["attack_options"])
    kind = _kind(config) if attack is not None and attack.poisons else ((), 0, 0)
    for count in possible(task):
        problem = _problem(config["attack"], options, kind, n - count, count)
        if problem:
            raise InvalidParameter(f"attack {config['attack']!r}: {problem}")


def _kind(config: dict[str, Any]) -> Kind:
    """Of the cell's examples; only a data set that is not known by its name is read for it."""
    name = config["dataset"]
    if name in DATASETS:
        return DATASETS[name].shape, DATASETS[name].classes, DATASETS[name].vocabulary
    raw = read(name, frozen(config["dataset_options"]), root_of(""), config["seed"])
    return tuple(raw.train_x.shape[1:]), raw.classes, raw.vocabulary


@lru_cache(maxsize=1024)
def _problem(name: str, options: str, kind: Kind, honest: int, f: int) -> str:
    attack = parse_attack(name, json.loads(options))
    try:
        if attack is not None:
            _mount(attack, kind, honest, f)
    except Exception as error:  # it would be the reason of a failed cell
        return str(error) if isinstance(error, InvalidParameter) else f"{type(error).__name__}: {error}"
    return ""


def _mount(attack: Any, kind: Kind, honest: int, f: int) -> None:
    rng = np.random.default_rng(0)
    if attack.poisons:
        shape, classes, vocabulary = kind
        check_examples(attack, shape)
        x, y = np.zeros((classes, *shape), np.int64 if vocabulary else np.float32), np.arange(classes)
        attack.poison(x, y, classes, rng, attacker=0, predict=lambda shown: np.zeros((len(shown), classes)))
        attack.triggered(x, y, classes)
    elif isinstance(attack, Attack) and attack.knowledge != "rule":
        attack(rng.normal(size=(honest, 4)), f)
