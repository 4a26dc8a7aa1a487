"""`Cell`: one federation of a sweep as a configuration, its key, and what runs it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from flwr_byzantine.attacks import Attack
from flwr_byzantine.attacks.parsing import NO_ATTACK, parse_attack
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.defaults import DEFAULTS, NAMED, stored
from flwr_byzantine.experiments.results import Result, snake
from flwr_byzantine.experiments.sweep.keys import TASK, TRIED, shown
from flwr_byzantine.experiments.sweep.trial import try_attack
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.rules import Rule
from flwr_byzantine.rules.parsing import parse_strategy

if TYPE_CHECKING:
    from flwr_byzantine.experiments.measures import History

PACKAGES = ("flwr-byzantine", "flwr", "numpy", "torch")


@dataclass(frozen=True)
class Cell:
    """One federation of a sweep.

    Attributes:
        config: all that determines its results, complete: keys that were not given have their defaults, and those
            that do not matter (alpha of an iid partition) one fixed value.

    Example:
        >>> cell = Cell.of({"strategy": ("krum", {}), "num_malicious": 4})
        >>> cell.config["f"], str(cell.rule())
        (4, 'Krum(f=4)')
    """

    config: dict[str, Any]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Cell:
        """A cell from values by key that `keys.checked` has seen; keys that are not given get their defaults.

        Raises:
            InvalidParameter: values that do not go together.
        """
        config = cls.defaults(given)
        for key in TRIED:
            config[key], config[f"{key}_options"] = config[key]
        for key, partitions in Task.PARTITION_PARAMETERS.items():
            config[key] = config[key] if config["partition"] in partitions else 0.0
        cell = cls(config)
        config["hidden"] = list(cell.task().widths) if config["model"] == "mlp" else []
        cell.check()
        return cell

    @staticmethod
    def defaults(given: Mapping[str, Any]) -> dict[str, Any]:
        """A value for every key; f is num_malicious where it is not given."""
        complete = {**DEFAULTS, **given}
        return {"f": complete["num_malicious"], **complete}

    def check(self) -> None:
        """Raise `InvalidParameter` where the strategy or the attack cannot work with such clients and data."""
        if self.config["attack"] != NO_ATTACK and not self.config["num_malicious"]:
            problem = f"nobody mounts the attack {self.config['attack']!r}: num-malicious = 0"
            raise InvalidParameter(f"{problem}; set num-malicious, or leave the cell out by [[exclude]]")
        try_attack(self.config)
        rule, n, f = self.rule(), self.config["num_clients"], self.config["f"]
        if rule is not None and n < rule.min_n():
            problem = f"strategy {self.config['strategy']!r} with f = {f} needs at least {rule.min_n()} clients, got num-clients = {n}"
            raise InvalidParameter(f"{problem}; lower f, raise num-clients, or leave the cell out by [[exclude]]")

    @property
    def key(self) -> str:
        """SHA-256 of the configuration, as `stored` leaves it, as canonical JSON.

        Example:
            >>> a, b = Cell({"lr": 0.1, "seed": 1}), Cell({"seed": 1, "lr": 0.1})
            >>> a.key == b.key
            True
        """
        text = json.dumps(stored(self.config), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def task(self, data_root: str = "") -> Task:
        """The cell's data and training."""
        values = {key: self.config[key] for key in (*TASK, *(f"{name}_options" for name in NAMED))}
        return Task(**(values | {"data_root": data_root, "hidden": tuple(values["hidden"])}))

    def rule(self) -> Rule | None:
        """The strategy's rule, None for plain FedAvg."""
        return parse_strategy(self.config["strategy"], self.config["f"], self.config["strategy_options"])

    def attack(self) -> Attack | None:
        """The attack, None for none."""
        return parse_attack(self.config["attack"], self.config["attack_options"])

    def idle(self) -> str:
        """Why the attack does nothing here; empty where it does something, or there is none."""
        attack = self.attack()
        return "" if attack is None else attack.idle(*(self.config[key] for key in ("num_clients", "num_malicious", "rounds")))

    def __str__(self) -> str:
        config = self.config
        under = "no attack" if config["attack"] == NO_ATTACK else f"{config['attack']} by {config['num_malicious']}"
        return f"{config['strategy']}, {under}, f {config['f']}, seed {config['seed']}"

    def describe(self, keys: tuple[str, ...]) -> str:
        """Its values of some keys, as the file spells them."""
        return ", ".join(f"{shown(key)} = {self.config[key]!r}" for key in keys)


def run(cell: Cell, data_root: str = "") -> Result:
    """Run one cell; an exception makes it a failed one."""
    start = time.monotonic()
    try:
        history = _federation(cell, data_root)
    except Exception as error:
        return failed(cell, f"{type(error).__name__}: {error}", time.monotonic() - start)
    return _result(cell, time.monotonic() - start, history=history.to_json(), final=history.final(), notices=history.notices)


def failed(cell: Cell, error: str, seconds: float = 0.0) -> Result:
    """The result of a cell that did not finish."""
    return _result(cell, seconds, status="failed", error=error)


def _result(cell: Cell, seconds: float, **found: Any) -> Result:
    from flwr_byzantine.flower.compat import flower_version  # loads Flower

    versions = {snake(name): flower_version() if name == "flwr" else version(name) for name in PACKAGES}
    return Result(cell.config, cell.key, seconds=round(seconds, 3), versions=versions, **found)


def _federation(cell: Cell, data_root: str) -> History:
    from flwr_byzantine.experiments.tasks.engines import run_on
    from flwr_byzantine.experiments.tasks.federation import federate

    task, histories = cell.task(data_root), []

    def main(grid: Any) -> None:
        history, _ = federate(grid, task, cell.rule(), cell.attack(), cell.config["rounds"], evaluate_every=cell.config["evaluate_every"])
        histories.append(history)

    run_on(cell.config["engine"], main, task.num_clients)
    return histories[0]
