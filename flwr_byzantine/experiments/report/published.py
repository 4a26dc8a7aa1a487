"""Published figures, to stand beside ours."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from flwr_byzantine.declare.names import unknown_name
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.report.scores import WORST, WorstCase
from flwr_byzantine.experiments.results import Result

_NEEDED: dict[str, Any] = {"strategy": str, "attack": str, "accuracy": (int, float), "source": str}
_MAY = ("seeds", "where")
ROUNDED = 0.01 + 1e-9  # a mean and its seeds, each rounded to whole percents


@dataclass(frozen=True)
class Published:
    """One figure of the literature.

    Attributes:
        strategy: a strategy's name as the sweep has it, with or without its options; or a name of its own, which gets a row.
        attack: an attack's name, with or without its options; "none", or "worst".
        accuracy: in [0, 1], or NaN.
        source: authors, venue, year, table.
        where: configuration keys, as results have them, and values it holds for, e.g. {"num_malicious": 20}.
        seeds: the figure of each seed, where they are published; `accuracy` is their mean.
    """

    strategy: str
    attack: str
    accuracy: float
    source: str
    where: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[float, ...] = ()

    def holds(self, cells: Iterable[Result]) -> bool:
        """Whether any of the cells has all of `where`."""
        return any(all(cell.config.get(key) == value for key, value in self.where.items()) for cell in cells)


def read_published(path: str | Path) -> list[Published]:
    """The `[[entries]]` of a TOML file; `where` and `seeds` may be left out.

    ```toml
    [[entries]]
    strategy = "bulyan"
    attack = "alie"
    accuracy = 0.72
    source = "Gabrielli et al., 2023, Table 2"
    where = { f = 20 }
    seeds = [0.71, 0.73]
    ```

    Raises:
        InvalidParameter: no such file, no TOML, or an entry that lacks a key or has one too many.
    """
    path = Path(path)
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("entries", [])
    except (OSError, ValueError) as error:
        raise InvalidParameter(f"report: cannot read {path} as TOML: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise InvalidParameter(f"report: {path} has no [[entries]]; each needs {', '.join(_NEEDED)} and may have {' and '.join(_MAY)}")
    return [_entry(entry, path, index) for index, entry in enumerate(entries, 1)]


def _entry(entry: Any, path: Path, index: int) -> Published:
    place = f"report: entry {index} of {path}"
    if not isinstance(entry, dict):
        raise InvalidParameter(f"{place} must be a table, written [[entries]], got {entry!r}")
    for key in sorted(set(entry) - {*_NEEDED, *_MAY}):
        raise unknown_name("key", key, [*_NEEDED, *_MAY], f"{place}: ")
    for name, kind in _NEEDED.items():
        if not isinstance(entry.get(name), kind) or isinstance(entry[name], bool):
            raise InvalidParameter(f"{place}: {name} must be {'a number' if name == 'accuracy' else 'a string'}, got {entry.get(name)!r}")
    where = entry.get("where", {})
    if not isinstance(where, dict):
        raise InvalidParameter(f"{place}: where must be a table such as {{f = 20}}, got {where!r}")
    if entry["accuracy"] < 0 or entry["accuracy"] > 1:
        raise InvalidParameter(f"{place}: accuracy must be in [0, 1] or nan, got {entry['accuracy']!r}")
    settings = {key.replace("-", "_"): value for key, value in where.items()}
    seeds = _seeds(entry.get("seeds", []), entry["accuracy"], place)
    return Published(entry["strategy"], entry["attack"], float(entry["accuracy"]), entry["source"], settings, seeds)


def _seeds(given: Any, accuracy: float, place: str) -> tuple[float, ...]:
    """Each seed's figure; their mean is the accuracy, to the digits that figures are published with."""
    numbers = isinstance(given, list) and all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in given)
    if not numbers or any(not 0 <= each <= 1 for each in given):
        raise InvalidParameter(f"{place}: seeds must be a list of accuracies in [0, 1], got {given!r}")
    if given and not abs(fmean(given) - accuracy) <= ROUNDED:
        raise InvalidParameter(f"{place}: accuracy must be the mean of seeds, {fmean(given):.4f}, got {accuracy!r}")
    return tuple(map(float, given))


def check_settings(published: Iterable[Published], cells: Iterable[Result]) -> None:
    """Raise `InvalidParameter` where an entry holds for values of a key that no cell has."""
    known = sorted({key for cell in cells for key in cell.config})
    for entry in published:
        for key in sorted(set(entry.where) - set(known)):
            raise unknown_name("key in where", key, known, f"report: published figure of {entry.strategy} under {entry.attack}: ")


Matched = dict[tuple[str, str], Published]
"""Published figures by row and column of one table."""


def matched(table: WorstCase, published: Sequence[Published]) -> Matched:
    """The published figures of one setting's table; rows that only the literature has are under the strategy's own name.

    Where several fit a place it is the one that names most options, then the first.
    """
    found: Matched = {}
    for entry in sorted(published, key=lambda entry: -((" (" in entry.strategy) + (" (" in entry.attack))):
        for (name, cells), column in product(_rows(table, entry).items(), _columns(table, entry.attack)):
            if entry.holds([cell for cell in cells if cell.attack == column] or cells):
                found.setdefault((name, column), entry)
    return found


def unmatched(tables: Sequence[WorstCase], published: Sequence[Published]) -> list[Published]:
    """The entries that stand in no table."""
    used = [entry for table in tables for entry in matched(table, published).values()]
    return [entry for entry in published if entry not in used]


def _rows(table: WorstCase, entry: Published) -> dict[str, list[Result]]:
    named = [row.rule for row in table.rows if entry.strategy == row.rule or entry.strategy in row.strategies]
    if not named:
        return {entry.strategy: list(table.cells)}
    return {name: [cell for cell in table.cells if cell.rule == name] for name in named}


def _columns(table: WorstCase, attack: str) -> list[str]:
    """The columns of an attack: the one that it names with its options, or all of its name."""
    return [column for column in (WORST, *table.attacks) if attack in (column, column.split(" (")[0])]
