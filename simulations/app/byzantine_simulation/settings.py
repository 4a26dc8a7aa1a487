"""From Flower's run config to a rule and an attack; every mistake is one sentence."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from flwr_byzantine import InvalidParameter, attacks, rules

CHOICES = {"dataset": ("digits", "fashion-mnist"), "partition": ("dirichlet", "iid"), "method": ("local-sgd", "byzantine-sgd")}
POSITIVE = ("alpha", "num_server_rounds", "local_epochs", "batch_size", "lr")
LEAST = {"num_malicious": -1, "f": -1, "seed": 0, "wait": 0}
KINDS = {"str": (str, "a text"), "int": (int, "a whole number"), "float": ((int, float), "a number")}
SIMULATE = 'flwr run simulations/app --stream --federation-config "num-supernodes=20 client-resources-num-cpus=1 init-args-num-cpus=2"'


@dataclass(frozen=True)
class Settings:
    """The keys of `[tool.flwr.app.config]`, which says what they are."""

    dataset: str
    data_root: str
    partition: str
    alpha: float
    num_malicious: int
    attack: str
    strategy: str
    f: int
    method: str
    num_server_rounds: int
    local_epochs: int
    batch_size: int
    lr: float
    worker_momentum: float
    seed: int
    wait: float
    results: str
    reports: str

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Settings:
        """From Flower's run config.

        Raises:
            InvalidParameter: a value out of range, or an unknown name.
        """
        return cls(**{item.name: _value(item.name.replace("_", "-"), str(item.type), config) for item in fields(cls)})

    def __post_init__(self) -> None:
        """Check the values, each by itself."""
        for name, known in CHOICES.items():
            self._require(name, getattr(self, name) in known, f"one of {', '.join(known)}")
        for name in POSITIVE:
            self._require(name, getattr(self, name) > 0, "above 0")
        self._require("worker_momentum", 0 <= self.worker_momentum < 1, "in [0, 1)")
        for name, least in LEAST.items():
            self._require(name, getattr(self, name) >= least, f"{least} or above")
        self.mounted(), self.rule(1)

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise InvalidParameter(f"run config: {name.replace('_', '-')} must be {expected}, got {getattr(self, name)!r}")

    def require_place(self) -> None:
        """Look before the run whether its results can be written on this machine, the server's.

        Raises:
            InvalidParameter: their folder is not there.
        """
        self._require("results", Path(self.results).parent.is_dir(), "a file in a folder that is there")

    def malicious(self, nodes: int) -> int:
        """How many of so many SuperNodes attack.

        Raises:
            InvalidParameter: all of them would.
        """
        found = nodes // 5 if self.num_malicious < 0 else self.num_malicious
        if found >= nodes:
            raise InvalidParameter(f"run config: num-malicious = {found} needs more than {found} SuperNodes, got {nodes}: {SIMULATE}")
        return found

    def rule(self, malicious: int) -> rules.Rule | None:
        """The strategy's rule; None for FedAvg."""
        f = malicious if self.f < 0 else self.f
        return None if self.strategy.lower() == "fedavg" else rules.parse(self.strategy, f)

    def rule_for(self, nodes: int) -> rules.Rule | None:
        """The rule, where so many SuperNodes are enough for it.

        Raises:
            InvalidParameter: they are not.
        """
        rule = self.rule(self.malicious(nodes))
        if rule is not None and nodes < rule.min_n():
            raise InvalidParameter(f"{rule} needs at least {rule.min_n()} SuperNodes, got {nodes}; lower f, or simulate more: {SIMULATE}")
        return rule

    def mounted(self) -> attacks.Attack | None:
        """The attack; None for "none".

        Raises:
            InvalidParameter: an unknown name or parameter, or a value that it cannot have.
        """
        name, parameters = parsed(self.attack)
        if name == "none":
            return None
        try:
            return attacks.get(name)(**parameters)
        except TypeError as error:
            raise InvalidParameter(f"run config: attack {self.attack!r} cannot be made: {error}") from None


def _value(key: str, kind: str, config: Mapping[str, Any]) -> Any:
    """The value of a key, of the kind that it must have; a whole number is a number too."""
    value, (types, expected) = config[key], KINDS[kind]
    if isinstance(value, bool) or not isinstance(value, types):
        raise InvalidParameter(f"run config: {key} must be {expected}, got {value!r}")
    return float(value) if kind == "float" else value


def parsed(call: str) -> tuple[str, dict[str, Any]]:
    """Name and parameters.

    Raises:
        InvalidParameter: the text is of another form.

    Example:
        >>> parsed("alie(z=1.5)"), parsed("sign-flip")
        (('alie', {'z': 1.5}), ('sign-flip', {}))
    """
    name, _, rest = call.strip().partition("(")
    try:
        found = ast.parse(f"attack({rest or ')'}", mode="eval").body
        if not isinstance(found, ast.Call) or found.args:
            raise ValueError
        return name, {str(item.arg): ast.literal_eval(item.value) for item in found.keywords}
    except (SyntaxError, ValueError):
        raise InvalidParameter(f'run config: attack must be a name with its parameters, such as "alie(z=1.5)", got {call!r}') from None
