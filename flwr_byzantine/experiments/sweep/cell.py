"""`Cell`: one federation of a sweep as a configuration, its key, and what runs it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from flwr_byzantine.attacks import Attack
from flwr_byzantine.attacks.parsing import NO_ATTACK, parse_attack
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.defaults import DEFAULTS, NAMED, stored
from flwr_byzantine.experiments.results import Result, snake
from flwr_byzantine.experiments.sweep.keys import LISTS, PLAN, TASK, TRIED, shown
from flwr_byzantine.experiments.sweep.trial import try_attack
from flwr_byzantine.experiments.tasks.data import root_of
from flwr_byzantine.experiments.tasks.notices import notices
from flwr_byzantine.experiments.tasks.partition_options import PARAMETERS
from flwr_byzantine.experiments.tasks.sources import missing
from flwr_byzantine.experiments.tasks.task import ALL, NO_REFRESH, Task
from flwr_byzantine.flower.spans import profiled
from flwr_byzantine.rules import Rule
from flwr_byzantine.rules.parsing import AUTO, faults, largest, parse_strategy
from flwr_byzantine.strategy.trusted import asks_server
from flwr_byzantine.theory import plan_sampling

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
            config[key], config[f"{key}_options"] = (config[key], {}) if isinstance(config[key], str) else config[key]
        for key, partitions in PARAMETERS.items():
            config[key] = config[key] if config["partition"] in partitions else 0.0
        cell = cls(config)
        task = cell.task()
        config["hidden"] = list(task.widths) if config["model"] == "mlp" else []
        config["clients_per_round"] = ALL if task.per_round == task.num_clients else task.per_round
        config["f"] = cell.faults()
        config |= {key: DEFAULTS[key] for key in _idle_keys(task, cell.attack())}
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
        self.check_server()
        self.try_attack()
        rule, n, f = self.rule(), self.task().per_round, self.config["f"]
        if rule is not None and n < rule.min_n():
            whole = self.config["clients_per_round"] == ALL
            key, lower = ("num-clients", "lower f") if whole else ("clients-per-round", "lower f, say to a share such as 0.2")
            problem = f"strategy {self.config['strategy']!r} with f = {f} needs at least {rule.min_n()} clients, got {key} = {n}"
            raise InvalidParameter(f"{problem}; {lower}, raise {key}, or leave the cell out by [[exclude]]")

    def check_server(self) -> None:
        """The engine must know what the server asks for, and the server have the data that the strategy looks at."""
        if self.config["engine"] == "batched" and self.config["refresh"]:
            raise InvalidParameter(NO_REFRESH)
        if not self.config["validation"] and asks_server(self.rule()):
            named = f"strategy {self.config['strategy']!r} asks for data of the server's own, and validation = 0"
            raise InvalidParameter(f"{named} leaves it none; set validation, say to 0.1, or leave the cell out by [[exclude]]")

    def faults(self) -> int:
        """The number f that the strategy is told: as given, a share of a round's clients, what the plan says, or the most it allows.

        Raises:
            InvalidParameter: the plan says that there is none that the strategy withstands.

        Example:
            >>> cell = {"strategy": ("krum", {}), "num_malicious": 4, "num_clients": 40, "clients_per_round": 0.5}
            >>> [Cell.of({**cell, "f": f}).config["f"] for f in (3, 0.2, "plan", "auto")]
            [3, 4, 4, 8]
        """
        config, task = self.config, self.task()
        if config["f"] not in (PLAN, AUTO):
            return faults(config["f"], task.per_round)
        rule = parse_strategy(config["strategy"], 0, config["strategy_options"])
        if config["f"] == AUTO:
            return 0 if rule is None else largest(rule, task.per_round).f
        return task.num_malicious if task.attackers == "redrawn" else self._planned(rule)

    def _planned(self, rule: Rule | None) -> int:
        config, task = self.config, self.task()
        numbers = (task.num_clients, task.num_malicious, task.per_round, config["rounds"], config["plan_failure"])
        plan = plan_sampling(*numbers, rule)
        if rule is not None and rule.robust and not plan.feasible:
            raise InvalidParameter(f"f = {PLAN!r}: {plan.reason.replace('epsilon', 'plan-failure')}")
        return plan.f

    def try_attack(self) -> None:
        """Mount the attack on made-up data; see `trial.try_attack`."""
        try_attack(self.config, self.task())

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
        return Task(**(values | {"data_root": data_root} | {key: tuple(values[key]) for key in LISTS}))

    def rule(self) -> Rule | None:
        """The strategy's rule, None for plain FedAvg."""
        return parse_strategy(self.config["strategy"], self.config["f"], self.config["strategy_options"])

    def attack(self) -> Attack | None:
        """The attack, None for none."""
        return parse_attack(self.config["attack"], self.config["attack_options"])

    def notices(self) -> list[str]:
        """What of it does nothing: an attack, or a step of the schedule that no round comes to."""
        return notices(self.task(), self.attack(), self.config["rounds"])

    def __str__(self) -> str:
        config = self.config
        under = "no attack" if config["attack"] == NO_ATTACK else f"{config['attack']} by {config['num_malicious']}"
        return f"{config['strategy']}, {under}, f {config['f']}, seed {config['seed']}"

    @property
    def source(self) -> str:
        """What a machine must have to run it: the data set."""
        return str(self.config["dataset"])

    def lacking(self, root: str) -> str:
        """What this machine lacks of it, in one sentence; "" where it lacks nothing."""
        problem = missing(self.source, root_of(root))
        return f"data-root: {problem}" if problem else ""

    def packages(self) -> tuple[str, ...]:
        """The packages that its results depend on."""
        return PACKAGES

    def federation(self, data_root: str, processes: int | None) -> History:
        """Run it; see `run`."""
        from flwr_byzantine.experiments.tasks.engines import federate_on

        of, task, every = self.config, self.task(data_root), self.config["evaluate_every"]
        history, _ = federate_on(of["engine"], task, self.rule(), self.attack(), of["rounds"], processes, evaluate_every=every)
        return history

    def describe(self, keys: tuple[str, ...]) -> str:
        """Its values of some keys, as the file spells them."""
        return ", ".join(f"{shown(key)} = {self.config[key]!r}" for key in keys)


def _idle_keys(task: Task, attack: Attack | None) -> list[str]:
    """Keys whose values change nothing beside those of others."""
    made_up = not task.num_malicious or (attack is not None and attack.knowledge != "own")  # attackers' own replies are not looked at
    gradients = task.method == "byzantine-sgd" and task.momentum != 0
    idle = {
        "plan_failure": True,  # once f is a number
        "lr_decay": not task.milestones,
        "momentum_form": not gradients,
        "attackers_data": made_up,
        "attackers_momentum": made_up or not gradients,
    }
    return [key for key, without_effect in idle.items() if without_effect]


def run(cell: Cell, data_root: str = "", processes: int | None = None, profile: bool = False) -> Result:
    """Run one cell, in as many processes as `tasks.engines.run_on` takes; an exception makes it a failed one.

    With `profile`, the result says the seconds of each part of `flower.spans`.
    """
    start = time.monotonic()
    try:
        with profiled() if profile else nullcontext() as looked:
            history = cell.federation(data_root, processes)
    except Exception as error:
        return failed(cell, f"{type(error).__name__}: {error}", time.monotonic() - start)
    parts = {} if looked is None else {part: round(seconds, 6) for part, seconds in looked.seconds.items()}
    taken = time.monotonic() - start
    measured = {"history": history.to_json(), "final": history.final(), "roc": history.roc()}
    return _result(cell, taken, **measured, notices=history.notices, profile=parts)


def failed(cell: Cell, error: str, seconds: float = 0.0) -> Result:
    """The result of a cell that did not finish."""
    return _result(cell, seconds, status="failed", error=error)


def _result(cell: Cell, seconds: float, **found: Any) -> Result:
    named = {snake(name): text for name, text in versions(cell.packages()).items()}
    return Result(cell.config, cell.key, seconds=round(seconds, 3), versions=named, **found)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The version of each package that results depend on, of those that are installed."""
    from flwr_byzantine.flower.compat import flower_version  # loads Flower

    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = flower_version() if name == "flwr" else version(name)
    return found
