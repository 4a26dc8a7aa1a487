"""From Flower's run config to a task, a rule and an attack; every mistake is one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from flwr_byzantine import attacks
from flwr_byzantine.attacks import Attack
from flwr_byzantine.attacks.parsing import NO_ATTACK, parse_attack
from flwr_byzantine.declare.params import Constraint, check
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.rules import Rule
from flwr_byzantine.rules.parsing import parse_strategy

DEFAULT = Task()
STRENGTHS = ("scale", "factor", "std", "z", "epsilon")


@dataclass(frozen=True)
class Settings:
    """One federation.

    Attributes:
        task: data and training.
        rule: None is plain FedAvg.
        attack: None is no attack.
        num_malicious: clients 0..num_malicious-1 attack.
        rounds: server rounds.
        results: file for the results, or "".
    """

    task: Task
    rule: Rule | None
    attack: Attack | None
    num_malicious: int
    rounds: int
    results: str

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Settings:
        """From the keys of `[tool.flwr.app.config]`.

        Raises:
            InvalidParameter: an unknown name, or a number out of range.
        """
        malicious, rounds = int(config["num-malicious"]), int(config["num-server-rounds"])
        check("run config", "num-malicious", malicious, Constraint(int, ge=0, lt=int(config["num-clients"])))
        check("run config", "num-server-rounds", rounds, Constraint(int, ge=1))
        task = _task(config, malicious)
        f = int(config["f"]) if int(config["f"]) >= 0 else malicious
        rule = _rule(str(config["strategy"]), f, task.num_clients)
        return cls(task, rule, _attack(str(config["attack"]), config["attack-strength"]), malicious, rounds, str(config["results"]))


def _task(config: Mapping[str, Any], malicious: int) -> Task:
    """The keys that are fields of `Task`, each as its default's type; "worker-momentum" is its momentum."""
    found: dict[str, Any] = {"num_malicious": malicious}
    for item in fields(Task):
        key = {"momentum": "worker-momentum"}.get(item.name, item.name.replace("_", "-"))
        if key in config and item.name not in ("hidden", *found):
            found[item.name] = type(getattr(DEFAULT, item.name))(config[key])
    return Task(**found)


def _rule(name: str, f: int, n: int) -> Rule | None:
    rule = parse_strategy(name, f)
    if rule is not None and n < rule.min_n():
        raise InvalidParameter(
            f"run config: strategy {name!r} with f = {f} needs at least {rule.min_n()} clients, got num-clients = {n}; lower f"
        )
    return rule


def _attack(name: str, strength: float) -> Attack | None:
    """The attack by name; a strength above 0 is the value of its first parameter, where that is one of `STRENGTHS`."""
    if name in ("", NO_ATTACK):
        return None
    first = next(iter(fields(attacks.get(name))), None)
    return parse_attack(name, {first.name: float(strength)} if first and first.name in STRENGTHS and strength > 0 else {})
