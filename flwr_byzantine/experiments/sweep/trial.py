"""What can be tried out before a sweep runs: attacks on made-up updates and examples, and how the data is divided."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any

import numpy as np

from flwr_byzantine.attacks import Attack
from flwr_byzantine.attacks.parsing import parse_attack
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.datasets import DATASETS, Dataset


def try_attack(config: dict[str, Any]) -> None:
    """Mount the attack of a cell once, on made-up updates or examples; slow attacks, which search against the rule, are left out.

    Raises:
        InvalidParameter: the attack cannot be carried out on such data, or with so many clients.
    """
    options, f = json.dumps(config["attack_options"], sort_keys=True), config["num_malicious"]
    problem = _problem(config["attack"], options, DATASETS[config["dataset"]], config["num_clients"] - f, f)
    if problem:
        raise InvalidParameter(f"attack {config['attack']!r}: {problem}")


@lru_cache(maxsize=1024)
def _problem(name: str, options: str, data: Dataset, honest: int, f: int) -> str:
    attack = parse_attack(name, json.loads(options))
    try:
        if attack is not None:
            _mount(attack, data, honest, f)
    except Exception as error:  # it would be the reason of a failed cell
        return str(error) if isinstance(error, InvalidParameter) else f"{type(error).__name__}: {error}"
    return ""


def _mount(attack: Any, data: Dataset, honest: int, f: int) -> None:
    rng = np.random.default_rng(0)
    if attack.poisons:
        x, y = np.zeros((data.classes, math.prod(data.shape)), np.float32), np.arange(data.classes)
        attack.poison(x, y, data.classes, rng, attacker=0, predict=lambda shown: np.zeros((len(shown), data.classes)))
        attack.triggered(x, y, data.classes)
    elif isinstance(attack, Attack) and attack.knowledge != "rule":
        attack(rng.normal(size=(honest, 4)), f)
