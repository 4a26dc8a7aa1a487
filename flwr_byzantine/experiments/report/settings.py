"""The results of a sweep by setting: which configuration keys vary, and the results that share their values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from flwr_byzantine.attacks.parsing import NO_ATTACK
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.results import Result, Setting, hashable, read, show
from flwr_byzantine.flower.words import escaped
from flwr_byzantine.rules.parsing import FEDAVG

_IDENTITY = frozenset({"seed", "strategy", "strategy_options", "attack", "attack_options"})
_FIRST = ("dataset", "model", "partition", "alpha", "gamma", "method", "f", "num_malicious", "num_clients", "clients_per_round")
_TRAINING = frozenset(
    {"optimizer", "local_epochs", "batch_size", "lr", "momentum", "weight_decay", "rounds", "server_lr", "server_momentum"}
    | {"milestones", "lr_decay", "lr_power", "warm_up", "momentum_form"}
)
_ATTACKERS_OWN = ("attackers_data", "attackers_momentum")  # which cells have only where they matter


def load(path: str | Path) -> list[Result]:
    """The results of a sweep, of which one at least finished.

    Args:
        path: a JSON-lines file as `flwr-byzantine sweep` writes it; see `results.read`.

    Raises:
        InvalidParameter: no such file, a line that is no result, no line at all, or no cell that finished.
    """
    cells = read(Path(path))
    if not cells:
        raise InvalidParameter(f"report: {path} holds no cell; let the sweep finish at least one")
    if not any(cell.ok for cell in cells):
        raise InvalidParameter(f"report: none of the {len(cells)} cells in {path} finished; the first failed with {cells[0].error!r}")
    return cells


def describe(setting: Setting) -> str:
    """A setting in words; empty where nothing varies.

    Example:
        >>> describe((("f", 4), ("gamma", 0.5)))
        'f = 4, gamma = 0.5'
    """
    return ", ".join(f"{escaped(key)} = {show(value)}" for key, value in setting)


def rank(value: Any) -> tuple[bool, Any]:
    """Sort key for values of mixed kinds: numbers by size, then the rest by name."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (False, value) if is_number else (True, str(value))


def values(cells: Iterable[Result], key: str) -> list[Any]:
    """The different values of a configuration key, sorted."""
    return sorted({hashable(cell.config.get(key)) for cell in cells}, key=rank)


def multivalued(cells: Sequence[Result]) -> list[str]:
    """The configuration keys with more than one value, without those that name a run's row, column and seed."""
    return [key for key in sorted({key for cell in cells for key in cell.config} - _IDENTITY) if len(values(cells, key)) > 1]


def varying(cells: Sequence[Result], given: Sequence[str] = ()) -> list[str]:
    """The configuration keys that tell settings apart, those `given` first.

    Left out are seeds, what the table's rows and columns name, and keys that follow from others: num_clients = 10 + f, or a
    learning rate that each rule has its own one of.
    """
    attacked = [cell for cell in cells if cell.attack != NO_ATTACK] or cells
    kept: list[str] = list(given)
    for key in sorted(multivalued(attacked), key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST)):
        if key not in kept and not _follows(attacked, key, kept):
            kept.append(key)
    return kept


def _follows(cells: Sequence[Result], key: str, kept: Sequence[str]) -> bool:
    """Whether the kept keys determine `key`; for a training parameter, whether they do together with the rule."""
    seen: dict[Any, Any] = {}
    for cell in cells:
        given = (cell.setting(kept), cell.rule if key in _TRAINING else "")
        if seen.setdefault(given, hashable(cell.config.get(key))) != hashable(cell.config.get(key)):
            return False
    return True


def grouped(cells: Iterable[Result], keys: Iterable[str]) -> dict[Setting, list[Result]]:
    """The cells of each setting, settings sorted."""
    keys = tuple(keys)
    groups: dict[Setting, list[Result]] = {}
    for cell in cells:
        groups.setdefault(cell.setting(keys), []).append(cell)
    return dict(sorted(groups.items(), key=lambda item: [rank(value) for _, value in item[0]]))


def comparable(cells: Sequence[Result], keys: Iterable[str]) -> list[Result]:
    """The cells without those that nobody attacks where the rule has others, of the very configuration that is attacked.

    A sweep over num_malicious = [0, 4] has runs without attack for both, of which those with 4 belong beside the attacks.
    """
    left_out: set[int] = set()
    for members in grouped(cells, keys).values():
        others = [key for key in multivalued(members) if key not in _ATTACKERS_OWN]
        attacked = {(cell.rule, cell.setting(others)) for cell in members if cell.attack != NO_ATTACK}
        plain = {id(cell): (cell.rule, cell.setting(others)) for cell in members if cell.attack == NO_ATTACK}
        beside = {rule for rule, setting in plain.values() if (rule, setting) in attacked}
        left_out |= {name for name, found in plain.items() if found[0] in beside and found not in attacked}
    return [cell for cell in cells if id(cell) not in left_out]


def rules_of(cells: Iterable[Result]) -> list[str]:
    """Rules in the order of the tables: FedAvg, single rules, chains."""
    return sorted({cell.rule for cell in cells}, key=lambda rule: (not rule.startswith(FEDAVG), "+" in rule, rule))


def attacks_of(cells: Iterable[Result]) -> list[str]:
    """Attacks by name, without "none"."""
    return sorted({cell.attack for cell in cells} - {NO_ATTACK})
