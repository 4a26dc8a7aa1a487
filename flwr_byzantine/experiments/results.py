"""The results file of a sweep: one line of JSON for each cell that ran, written by `sweep`, read by `sweep` and `report`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.defaults import completed, stored
from flwr_byzantine.flower.words import escaped

Setting = tuple[tuple[str, Any], ...]
"""The values of some configuration keys, as pairs in a fixed order."""


@dataclass(frozen=True)
class Result:
    """The result of running one cell of a sweep: one line of the file.

    Attributes:
        config: the cell's configuration, key by key; on the file without later keys that have their default.
        key: hash of the configuration; "" where the line has none.
        status: "ok" or "failed".
        error: of a failed run, "TypeError: ..."; else empty.
        history: a list for each measure, over rounds; "course" in the file.
        final: each measure's mean over the last three rounds.
        seconds: how long it took.
        versions: of the packages that it ran on.
        notices: what does nothing in this cell: the attack, or a step of the schedule that no round comes to.
        profile: seconds of each part of the run, where it was looked for.
        roc: mean ROC curve of the scores, at `detection.RATES`; empty where there is none.
        rule: the strategy with its options, as the tables name it.
        attack: the attack with its options, "none" without one.

    Example:
        >>> Result.of({"status": "ok", "config": {"strategy": "multi-krum", "strategy_options": {"m": 5}}}).rule
        'multi-krum (m=5)'
    """

    config: dict[str, Any]
    key: str = ""
    status: str = "ok"
    error: str = ""
    history: dict[str, Any] = field(default_factory=dict)
    final: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    rule: str = ""
    attack: str = ""
    notices: list[str] = field(default_factory=list)
    profile: dict[str, float] = field(default_factory=dict)
    roc: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Name the strategy and the attack by the configuration, where they have no other name, in words that are fit to print."""
        config = self.config
        rule = self.rule or named(config["strategy"], config.get("strategy_options"))
        attack = self.attack or named(config.get("attack") or NO_ATTACK, config.get("attack_options"))
        object.__setattr__(self, "rule", escaped(rule))
        object.__setattr__(self, "attack", escaped(attack))

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Result:
        """From one decoded line, by this version or an older one, whose keys had dashes; what is absent is empty."""
        texts = {name: str(line.get(name) or "") for name in ("key", "status", "error")}
        course, final = _snaked(line.get("course")), _snaked(line.get("final"))
        _check_numbers(final.values())
        for values in course.values():
            _check_numbers(values or ())
        return cls(
            completed(_snaked(line["config"])),
            **texts,
            history=course,
            final=final,
            seconds=float(line.get("seconds") or 0),
            versions=_snaked(line.get("versions")),
            notices=[escaped(str(text)) for text in line.get("notices") or ()],
            profile=dict(line.get("profile") or {}),
            roc=list(line.get("roc") or ()),
        )

    def to_json(self) -> dict[str, Any]:
        """The line of the results file as a dict."""
        head = {"key": self.key, "status": self.status, "error": self.error, "course": self.history, "final": self.final}
        line = {**head, "config": stored(self.config), "seconds": self.seconds, "versions": self.versions}
        more = {"notices": self.notices, "profile": self.profile, "roc": self.roc}
        return {**line, **{name: found for name, found in more.items() if found}}

    def flat(self) -> dict[str, Any]:
        """The result in one row, for a data frame: each column's name is in snake_case.

        `pandas.DataFrame(result.flat() for result in read(path))` has a column for each key of the configuration (lists and
        options as JSON), `final_accuracy` and so on for the final measures, `version_flwr` and so on for the packages.

        Example:
            >>> row = Result({"strategy": "krum", "lr": 0.1}, final={"accuracy": 0.9}, versions={"flwr": "1.42.0"}).flat()
            >>> row["strategy"], row["rule"], row["final_accuracy"], row["version_flwr"]
            ('krum', 'krum', 0.9, '1.42.0')
        """
        names = {"rule": self.rule, "attack_with_options": self.attack}
        outcome = {"seconds": self.seconds, "status": self.status, "error": self.error, "key": self.key}
        final = {f"final_{name}": self.value(name) for name in self.final}
        versions = {f"version_{name}": text for name, text in self.versions.items()}
        return {**{name: hashable(value) for name, value in self.config.items()}, **names, **final, **outcome, **versions}

    @property
    def ok(self) -> bool:
        """Whether the run finished."""
        return self.status == "ok"

    def value(self, measure: str = "accuracy") -> float:
        """The final value of a measure; NaN where it is null or absent."""
        return number(self.final.get(measure))

    def curve(self, measure: str = "accuracy") -> list[float]:
        """A measure over rounds; empty where it was not taken."""
        return [number(value) for value in self.history.get(measure) or ()]

    def setting(self, keys: Iterable[str]) -> Setting:
        """The values of `keys` in the configuration."""
        return tuple((key, hashable(self.config.get(key))) for key in keys)


def read(path: Path) -> list[Result]:
    """The results in a file, in the order of the lines.

    Of several lines with one key the last counts; a last line that was not written to its end, as after a kill, does not.

    Raises:
        InvalidParameter: the file cannot be read, or a line in it is no result.
    """
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InvalidParameter(f"{path}: cannot read this file ({error.strerror}); give the results file of a sweep") from None
    found = {}
    for number, line in enumerate([*lines, *[rest] * (parse(rest) is not None)], 1):
        if line.strip():
            result = parse(line)
            if result is None:
                problem = f"{path}: line {number} is no result of a sweep, which is a JSON object with a config that has a strategy"
                raise InvalidParameter(f"{problem}; mend the line, or name another file")
            found[result.key or str(number)] = result
    return list(found.values())


def parse(line: bytes) -> Result | None:
    """The result that a line holds; None where the line is not one."""
    try:
        content = json.loads(line)
        return Result.of(content) if "strategy" in content["config"] else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def snake(name: str) -> str:
    """A name as a data frame's column.

    Example:
        >>> snake("flwr-byzantine"), snake("strategy_options.tau")
        ('flwr_byzantine', 'strategy_options_tau')
    """
    return re.sub(r"\W+", "_", name).strip("_").lower()


def _snaked(table: Mapping[str, Any] | None) -> dict[str, Any]:
    return {snake(key): value for key, value in (table or {}).items()}


def _check_numbers(values: Iterable[Any]) -> None:
    """Raise `TypeError` where one is neither a number nor null."""
    wrong = set(map(type, values)) - {float, int, type(None)}
    if wrong:
        raise TypeError(f"expected numbers, got {wrong}")


def number(value: Any) -> float:
    """A float; NaN for None."""
    return math.nan if value is None else float(value)


def hashable(value: Any) -> Any:
    """The value itself if it is hashable, else its JSON."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value


def named(name: str, options: Mapping[str, Any] | None) -> str:
    """A name with its options: "alie (z=1.5)"."""
    given = ", ".join(f"{key}={show(value)}" for key, value in sorted((options or {}).items()))
    return f"{name} ({given})" if given else name


def show(value: Any) -> str:
    """A configuration value in words, fit to print: floats without trailing zeros."""
    if isinstance(value, float):
        return f"{value:g}"
    return escaped(value if isinstance(value, str) else json.dumps(value, sort_keys=True))
