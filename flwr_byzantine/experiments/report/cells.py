"""The finished and failed cells of a sweep, read from its JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.rules.parsing import FEDAVG

Setting = tuple[tuple[str, Any], ...]
"""The values of some configuration keys, as pairs in a fixed order."""

_IDENTITY = frozenset({"seed", "strategy", "strategy_options", "attack", "attack_options"})
_FIRST = ("dataset", "model", "partition", "alpha", "gamma", "method", "f", "num_malicious", "num_clients")
_TRAINING = frozenset({"optimizer", "local_epochs", "batch_size", "lr", "momentum", "weight_decay", "rounds"})


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        key: hash of its configuration.
        status: "ok" or "failed".
        error: of a failed run, "TypeError: ..."; else empty.
        config: its configuration, key by key.
        course: a list for each measure, over rounds.
        final: each measure's mean over the last three rounds.
        seconds: how long it took.
        versions: of the packages that it ran on.
        rule: the strategy with its options, as the tables name it.
        attack: the attack with its options, "none" without one.

    Example:
        >>> Cell.of({"key": "a", "status": "ok", "config": {"strategy": "multi-krum", "strategy_options": {"m": 5}}}).rule
        'multi-krum (m=5)'
    """

    key: str
    status: str
    error: str
    config: dict[str, Any]
    course: dict[str, Any]
    final: dict[str, Any]
    seconds: float
    versions: dict[str, str]
    rule: str
    attack: str

    @classmethod
    def of(cls, record: dict[str, Any]) -> Cell:
        """From one decoded line; what is absent is empty."""
        config = record["config"]
        rule = named(config["strategy"], config.get("strategy_options"))
        attack = named(config.get("attack") or NO_ATTACK, config.get("attack_options"))
        parts: dict[str, Any] = {name: record.get(name) or {} for name in ("course", "final", "versions")}
        parts |= {name: str(record.get(name) or "") for name in ("key", "status", "error")}
        return cls(**parts, config=config, seconds=float(record.get("seconds") or 0), rule=rule, attack=attack)

    @property
    def ok(self) -> bool:
        """Whether the run finished."""
        return self.status == "ok"

    def value(self, measure: str = "accuracy") -> float:
        """The final value of a measure; NaN where it is null or absent."""
        return number(self.final.get(measure))

    def curve(self, measure: str = "accuracy") -> list[float]:
        """A measure over rounds; empty where it was not taken."""
        return [number(value) for value in self.course.get(measure) or ()]

    def setting(self, keys: Iterable[str]) -> Setting:
        """The values of `keys` in this cell's configuration."""
        return tuple((key, frozen(self.config.get(key))) for key in keys)


def number(value: Any) -> float:
    """A float; NaN for None."""
    return math.nan if value is None else float(value)


def frozen(value: Any) -> Any:
    """The value itself if it is hashable, else its JSON."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value


def named(name: str, options: dict[str, Any] | None) -> str:
    """A name with its options: "alie (z=1.5)"."""
    given = ", ".join(f"{key}={show(value)}" for key, value in sorted((options or {}).items()))
    return f"{name} ({given})" if given else name


def show(value: Any) -> str:
    """A configuration value in words: floats without trailing zeros."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def describe(setting: Setting) -> str:
    """A setting in words; empty where nothing varies.

    Example:
        >>> describe((("f", 4), ("gamma", 0.5)))
        'f = 4, gamma = 0.5'
    """
    return ", ".join(f"{key} = {show(value)}" for key, value in setting)


def load(path: str | Path) -> list[Cell]:
    """The cells of a sweep's results.

    A later line replaces an earlier one of the same key; a torn last line is ignored.

    Args:
        path: a JSON-lines file as `flwr-byzantine sweep` writes it.

    Raises:
        InvalidParameter: no such file, a line that is no cell, no cell at all, or none that finished.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    except OSError as error:
        raise InvalidParameter(f"report: cannot read {path} ({error.strerror}); give the results file of a sweep") from None
    records = {}
    for index, line in enumerate(lines, 1):
        record = _record(line, path, index, torn_allowed=index == len(lines))
        if record is not None:
            records[record.get("key") or index] = record
    cells = [Cell.of(record) for record in records.values()]
    _require_finished(cells, path)
    return cells


def _record(line: str, path: Path, index: int, torn_allowed: bool) -> dict[str, Any] | None:
    if not line.strip():
        return None
    try:
        record = json.loads(line)
    except ValueError:
        if torn_allowed:
            return None
        raise InvalidParameter(f"report: line {index} of {path} is not JSON; expected one finished cell of a sweep a line") from None
    if not (isinstance(record, dict) and isinstance(record.get("config"), dict) and "strategy" in record["config"]):
        raise InvalidParameter(f"report: line {index} of {path} is no cell of a sweep: it has no config with a strategy")
    return record


def _require_finished(cells: Sequence[Cell], path: Path) -> None:
    if not cells:
        raise InvalidParameter(f"report: {path} holds no cell; let the sweep finish at least one")
    if not any(cell.ok for cell in cells):
        raise InvalidParameter(f"report: none of the {len(cells)} cells in {path} finished; the first failed with {cells[0].error!r}")


def rank(value: Any) -> tuple[bool, Any]:
    """Sort key for values of mixed kinds: numbers by size, then the rest by name."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (False, value) if is_number else (True, str(value))


def values(cells: Iterable[Cell], key: str) -> list[Any]:
    """The different values of a configuration key, sorted."""
    return sorted({frozen(cell.config.get(key)) for cell in cells}, key=rank)


def several(cells: Sequence[Cell]) -> list[str]:
    """The configuration keys with more than one value, without those that name a run's row, column and seed."""
    return [key for key in sorted({key for cell in cells for key in cell.config} - _IDENTITY) if len(values(cells, key)) > 1]


def varying(cells: Sequence[Cell], given: Sequence[str] = ()) -> list[str]:
    """The configuration keys that tell settings apart, those `given` first.

    Left out are seeds, what the table's rows and columns name, and keys that follow from others: num_clients = 10 + f, or a
    learning rate that each rule has its own one of.
    """
    attacked = [cell for cell in cells if cell.attack != NO_ATTACK] or cells
    kept: list[str] = list(given)
    for key in sorted(several(attacked), key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST)):
        if key not in kept and not _follows(attacked, key, kept):
            kept.append(key)
    return kept


def _follows(cells: Sequence[Cell], key: str, kept: Sequence[str]) -> bool:
    """Whether `key` is a function of the kept keys, or, a training parameter, of these and the rule."""
    seen: dict[Any, Any] = {}
    for cell in cells:
        given = (cell.setting(kept), cell.rule if key in _TRAINING else "")
        if seen.setdefault(given, frozen(cell.config.get(key))) != frozen(cell.config.get(key)):
            return False
    return True


def grouped(cells: Iterable[Cell], keys: Iterable[str]) -> dict[Setting, list[Cell]]:
    """The cells of each setting, settings sorted."""
    keys = tuple(keys)
    groups: dict[Setting, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.setting(keys), []).append(cell)
    return dict(sorted(groups.items(), key=lambda item: [rank(value) for _, value in item[0]]))


def rules_of(cells: Iterable[Cell]) -> list[str]:
    """Rules in the order of the tables: FedAvg, single rules, chains."""
    return sorted({cell.rule for cell in cells}, key=lambda rule: (not rule.startswith(FEDAVG), "+" in rule, rule))


def attacks_of(cells: Iterable[Cell]) -> list[str]:
    """Attacks by name, without "none"."""
    return sorted({cell.attack for cell in cells} - {NO_ATTACK})
