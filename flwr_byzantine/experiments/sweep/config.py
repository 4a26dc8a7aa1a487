"""From a TOML file to the cells of a sweep; every mistake is one sentence with file, key and choices, before anything runs."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flwr_byzantine.arrays.parallel import cores
from flwr_byzantine.declare.names import unknown_name
from flwr_byzantine.declare.params import Constraint
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.apps.project import flattened
from flwr_byzantine.experiments.report.choice import NOT_CHOSEN
from flwr_byzantine.experiments.sweep.app_table import AppCells
from flwr_byzantine.experiments.sweep.cell import Cell
from flwr_byzantine.experiments.sweep.keys import CELL, LISTS, in_file, key_of, shown
from flwr_byzantine.experiments.sweep.kinds import DATA_KEYS, Kind, Tasks

TABLES = ("sweep", "task", "app", "grid", "exclude", "choose")
SHARED_KEYS = ("rounds", "engine", "evaluate_every")  # keys of a cell that [sweep] may hold too
GENERAL = {"name": Constraint(str), "processes": Constraint(int, ge=1), **{key: CELL[key] for key in SHARED_KEYS}}
DATA_ROOT = "data_root"
Table = Mapping[str, Any]


@dataclass(frozen=True)
class Sweep:
    """What a file describes.

    Attributes:
        file: the file.
        name: of the sweep; by default the file's, without its ending.
        cells: the federations to run, no two alike, those that share data next to each other.
        processes: how many run at once.
        data_root: folder of the data; "" as in `Task`.
        choose: keys of hyper-parameters to choose on the validation split.
    """

    file: Path
    name: str
    cells: tuple[Cell, ...]
    processes: int
    data_root: str = ""
    choose: tuple[str, ...] = ()


def read(path: str | Path) -> Sweep:
    r"""The sweep that a TOML file describes.

    Raises:
        InvalidParameter: no such file, not TOML, an unknown table, key or name, a value of the wrong kind or out of
            range, an f that is impossible, data that is not there.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "lr.toml")
        >>> _ = path.write_text('[grid]\nlr = [0.1, 0.2]\nstrategy = ["krum", "fedavg"]\n')
        >>> [cell.config["lr"] for cell in read(path).cells]
        [0.1, 0.1, 0.2, 0.2]
    """
    file = Path(path)
    tables = _tables(file)
    general = _general(file, tables.get("sweep", {}))
    kind: Kind = AppCells(file, tables["app"]) if "app" in tables else Tasks()
    fixed, root = _fixed(file, kind, tables.get("task", {}), general)
    grid = _grid(file, kind, tables.get("grid", {}), fixed)
    cells = _cells(file, kind, fixed, grid, _excludes(file, kind, tables.get("exclude", [])))
    chosen = _choose(file, tables.get("choose", {}), grid)
    if chosen:
        kind.check_choice(file, cells)
    kind.check(file, cells, root)
    processes = general.get("processes", cores())
    return Sweep(file, general.get("name", file.stem), cells, processes, root, chosen)


def part_of(sweep: Sweep, part: str) -> Sweep:
    """One of N parts of a sweep, each with every Nth cell, and without the choice, which needs all.

    Args:
        sweep: the whole.
        part: "2/8" is the second of eight.

    Raises:
        InvalidParameter: there is no such part.

    Example:
        >>> whole = Sweep(Path("a.toml"), "a", tuple(Cell.of({"seed": seed}) for seed in range(5)), 1)
        >>> [[cell.config["seed"] for cell in part_of(whole, f"{k}/2").cells] for k in (1, 2)]
        [[0, 2, 4], [1, 3]]
    """
    match = re.fullmatch(r"([1-9][0-9]*)/([1-9][0-9]*)", part)
    if match is None or int(match[1]) > int(match[2]):
        raise InvalidParameter(f"--part must be K/N, with K from 1 to N, such as 2/8, got {part!r}")
    return replace(sweep, cells=sweep.cells[int(match[1]) - 1 :: int(match[2])], choose=())


def _tables(file: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidParameter(f"{file}: cannot read this file ({error.strerror}); give the TOML file of a sweep") from None
    except ValueError as error:
        raise InvalidParameter(f"{file}: this is not TOML: {error}") from None
    for name, content in tables.items():
        if name not in TABLES:
            raise unknown_name("table", name, TABLES, f"{file}: ")
        if not isinstance(content, list if name == "exclude" else dict):
            raise InvalidParameter(
                f"{file}: {name} must be a table, written {'[[exclude]]' if name == 'exclude' else f'[{name}]'}, got {content!r}"
            )
    return tables


def _spelled(file: Path, table: str, content: Table, known: Iterable[str], kind: Kind | None = None) -> dict[str, Any]:
    """The table by the keys' own spelling; a table "app" in it holds keys of the app's run config."""
    own = content.get("app")
    if isinstance(own, dict):
        content = {**{f"app.{name}": value for name, value in flattened(own)}, **{key: content[key] for key in content if key != "app"}}
    found = {key_of(key): value for key, value in content.items()}
    known = list(known)
    if len(found) < len(content):
        twice = next(key for key in content if key != shown(key_of(key)) and shown(key_of(key)) in content)
        raise InvalidParameter(f"{file}: {table} gives {shown(key_of(twice))} twice, as {twice} too; give it once")
    for key in found:
        refused = kind.refused(key) if kind is not None and key not in known else ""
        if refused:
            raise InvalidParameter(f"{file}: {table} {shown(key)} cannot be given here: {refused}")
        if key not in known:
            raise unknown_name(f"key in {table}", shown(key), map(shown, known), f"{file}: ")
    return found


def _general(file: Path, content: Table) -> dict[str, Any]:
    found = _spelled(file, "[sweep]", content, GENERAL)
    for key, value in found.items():
        if not GENERAL[key].accepts(value):
            raise InvalidParameter(f"{file}: [sweep] {shown(key)} must be {GENERAL[key]}, got {value!r}")
    return found


def _fixed(file: Path, kind: Kind, content: Table, general: Table) -> tuple[dict[str, Any], str]:
    """Values of all cells, from [task], [sweep] and [app.config]; and the data's folder."""
    found = _spelled(file, "[task]", content, [*kind.keys, DATA_ROOT], kind)
    root = found.pop(DATA_ROOT, "")
    if not isinstance(root, str):
        raise InvalidParameter(f"{file}: [task] data-root must be a string, got {root!r}")
    _not_twice(file, "[task]", found, "[sweep]", general)
    _not_twice(file, "[task]", found, "[app.config]", kind.fixed)
    fixed = {key: kind.checked(f"{file}: [task]", key, value) for key, value in found.items()}
    return {**kind.fixed, **fixed, **{key: general[key] for key in SHARED_KEYS if key in general}}, root


def _grid(file: Path, kind: Kind, content: Table, fixed: Table) -> dict[str, list[Any]]:
    found = _spelled(file, "[grid]", content, kind.keys, kind)
    _not_twice(file, "[grid]", found, "[app.config]", kind.fixed)
    _not_twice(file, "[grid]", found, "[task] or [sweep]", fixed)
    for key, values in found.items():
        if not isinstance(values, list) or not values:
            raise InvalidParameter(f"{file}: [grid] {shown(key)} must be a list of one value or more, got {values!r}")
    return {key: [kind.checked(f"{file}: [grid]", key, value) for value in values] for key, values in found.items()}


def _not_twice(file: Path, table: str, content: Table, other: str, taken: Table) -> None:
    for key in content:
        if key in taken:
            raise InvalidParameter(f"{file}: {table} {shown(key)} is given in {other} too; give it once")


def _excludes(file: Path, kind: Kind, content: list[Any]) -> list[dict[str, list[Any]]]:
    """For each [[exclude]], the values of each of its keys."""
    rules = []
    for number, table in enumerate(content, 1):
        where = f"[[exclude]] {number}"
        if not isinstance(table, dict) or not table:
            raise InvalidParameter(f"{file}: {where} must name one key or more, got {table!r}")
        found = _spelled(file, where, table, kind.keys, kind)
        listed = {key: value if _several(key, value) else [value] for key, value in found.items()}
        rules.append({key: [kind.checked(f"{file}: {where}", key, value) for value in values] for key, values in listed.items()})
    return rules


def _several(key: str, value: Any) -> bool:
    """Whether these are values of the key, and not one that is a list itself."""
    return isinstance(value, list) and (key not in LISTS or any(isinstance(item, list) for item in value))


def _cells(file: Path, kind: Kind, fixed: Table, grid: Mapping[str, list[Any]], excludes: list[dict[str, list[Any]]]) -> tuple[Cell, ...]:
    """The product of the grid without what is excluded, each configuration once."""
    hits = [0] * len(excludes)
    cells: dict[str, Cell] = {}
    for values in itertools.product(*grid.values()):
        given = {**fixed, **dict(zip(grid, values, strict=True))}
        found = [index for index, rule in enumerate(excludes) if _excluded(kind.complete(given), rule)]
        for index in found:
            hits[index] += 1
        if not found:
            cell = _cell(file, kind, given, grid)
            cells.setdefault(cell.key, cell)
    if 0 in hits:
        raise InvalidParameter(f"{file}: [[exclude]] {hits.index(0) + 1} leaves out no cell; check its values against [grid] and [task]")
    if not cells:
        raise InvalidParameter(f"{file}: every cell is left out by [[exclude]]; leave at least one")
    return tuple(sorted(cells.values(), key=lambda cell: [str(cell.config.get(key)) for key in DATA_KEYS]))


def _excluded(complete: Table, rule: Mapping[str, list[Any]]) -> bool:
    return all(any(_same(complete[key], value) for value in values) for key, values in rule.items())


def _same(value: Any, wanted: Any) -> bool:
    """Whether a value is the one to exclude; a name without options stands for any options."""
    if isinstance(value, tuple) and not wanted[1]:
        return bool(value[0] == wanted[0])
    return bool(value == wanted)


def _cell(file: Path, kind: Kind, given: Table, grid: Mapping[str, Any]) -> Cell:
    try:
        return kind.cell(given)
    except InvalidParameter as error:
        place = ", ".join(f"{shown(key)} = {_text(given[key])}" for key in grid)
        raise InvalidParameter(f"{file}: {f'the cell with {place}: ' if place else ''}{in_file(error)}") from None


def _text(value: Any) -> str:
    return repr(value[0]) if isinstance(value, tuple) else repr(value)


def _choose(file: Path, content: Table, grid: Mapping[str, list[Any]]) -> tuple[str, ...]:
    found = _spelled(file, "[choose]", content, ["keys"])
    keys = found.get("keys", [])
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InvalidParameter(f"{file}: [choose] keys must be a list of keys of [grid], got {keys!r}")
    candidates = [key for key, values in grid.items() if len(values) > 1 and key not in NOT_CHOSEN]
    if keys and not candidates:
        raise InvalidParameter(
            f"{file}: [choose] keys needs a hyper-parameter with several values in [grid], got none; write lr = [0.1, 0.3]"
        )
    for key in map(key_of, keys):
        if key not in candidates:
            where = f"{file}: [choose] keys: "
            raise unknown_name("hyper-parameter with several values in [grid]", shown(key), map(shown, candidates), where)
    return tuple(map(key_of, keys))
