"""From a TOML file to the cells of a sweep; every mistake is one sentence with file, key and choices, before anything runs."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr_byzantine.arrays.parallel import cores
from flwr_byzantine.declare.names import unknown_name
from flwr_byzantine.declare.params import Constraint
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.sweep.cell import Cell
from flwr_byzantine.experiments.sweep.keys import CELL, LISTS, checked, key_of, shown
from flwr_byzantine.experiments.tasks.data import root_of
from flwr_byzantine.experiments.tasks.partitions import partitions
from flwr_byzantine.experiments.tasks.sources import missing

TABLES = ("sweep", "task", "grid", "exclude", "choose")
SHARED_KEYS = ("rounds", "engine", "evaluate_every")  # keys of a cell that [sweep] may hold too
GENERAL = {"name": Constraint(str), "processes": Constraint(int, ge=1), **{key: CELL[key] for key in SHARED_KEYS}}
DATA_ROOT = "data_root"
DATA_KEYS = (
    *("dataset", "dataset_options", "normalize", "validation"),
    *("num_clients", "seed", "partition", "partition_options", "alpha", "gamma"),
)  # cells equal in these share loaded data
MODEL_KEYS = ("dataset", "dataset_options", "model", "hidden", "method")  # cells equal in these have models of one kind
NOT_CHOSEN = ("strategy", "attack", "seed", "f", "num_malicious", "engine", "dataset")
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
    fixed, root = _fixed(file, tables.get("task", {}), general)
    grid = _grid(file, tables.get("grid", {}), fixed)
    cells = _cells(file, fixed, grid, _excludes(file, tables.get("exclude", [])))
    check_data(file, cells, root)
    _check_partitions(file, cells, root)
    _check_models(file, cells, root)
    processes = general.get("processes", cores())
    chosen = _choose(file, tables.get("choose", {}), grid)
    if chosen and not all(cell.config["validation"] for cell in cells):
        raise InvalidParameter(f"{file}: [choose] needs a validation split to choose on, got validation = 0; set it, say to 0.1")
    return Sweep(file, general.get("name", file.stem), cells, processes, root, chosen)


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


def _spelled(file: Path, table: str, content: Table, known: Iterable[str]) -> dict[str, Any]:
    """The table by the keys' own spelling."""
    found = {key_of(key): value for key, value in content.items()}
    known = list(known)
    if len(found) < len(content):
        twice = next(key for key in content if key != shown(key_of(key)) and shown(key_of(key)) in content)
        raise InvalidParameter(f"{file}: {table} gives {shown(key_of(twice))} twice, as {twice} too; give it once")
    for key in found:
        if key not in known:
            raise unknown_name(f"key in {table}", shown(key), map(shown, known), f"{file}: ")
    return found


def _general(file: Path, content: Table) -> dict[str, Any]:
    found = _spelled(file, "[sweep]", content, GENERAL)
    for key, value in found.items():
        if not GENERAL[key].accepts(value):
            raise InvalidParameter(f"{file}: [sweep] {shown(key)} must be {GENERAL[key]}, got {value!r}")
    return found


def _fixed(file: Path, content: Table, general: Table) -> tuple[dict[str, Any], str]:
    """Values of all cells, from [task] and [sweep]; and the data's folder."""
    found = _spelled(file, "[task]", content, [*CELL, DATA_ROOT])
    root = found.pop(DATA_ROOT, "")
    if not isinstance(root, str):
        raise InvalidParameter(f"{file}: [task] data-root must be a string, got {root!r}")
    _not_twice(file, "[task]", found, "[sweep]", general)
    fixed = {key: checked(f"{file}: [task]", key, value) for key, value in found.items()}
    return fixed | {key: general[key] for key in SHARED_KEYS if key in general}, root


def _grid(file: Path, content: Table, fixed: Table) -> dict[str, list[Any]]:
    found = _spelled(file, "[grid]", content, CELL)
    _not_twice(file, "[grid]", found, "[task] or [sweep]", fixed)
    for key, values in found.items():
        if not isinstance(values, list) or not values:
            raise InvalidParameter(f"{file}: [grid] {shown(key)} must be a list of one value or more, got {values!r}")
    return {key: [checked(f"{file}: [grid]", key, value) for value in values] for key, values in found.items()}


def _not_twice(file: Path, table: str, content: Table, other: str, taken: Table) -> None:
    for key in content:
        if key in taken:
            raise InvalidParameter(f"{file}: {table} {shown(key)} is given in {other} too; give it once")


def _excludes(file: Path, content: list[Any]) -> list[dict[str, list[Any]]]:
    """For each [[exclude]], the values of each of its keys."""
    rules = []
    for number, table in enumerate(content, 1):
        where = f"[[exclude]] {number}"
        if not isinstance(table, dict) or not table:
            raise InvalidParameter(f"{file}: {where} must name one key or more, got {table!r}")
        found = _spelled(file, where, table, CELL)
        listed = {key: value if isinstance(value, list) and key not in LISTS else [value] for key, value in found.items()}
        rules.append({key: [checked(f"{file}: {where}", key, value) for value in values] for key, values in listed.items()})
    return rules


def _cells(file: Path, fixed: Table, grid: Mapping[str, list[Any]], excludes: list[dict[str, list[Any]]]) -> tuple[Cell, ...]:
    """The product of the grid without what is excluded, each configuration once."""
    hits = [0] * len(excludes)
    cells: dict[str, Cell] = {}
    for values in itertools.product(*grid.values()):
        given = {**fixed, **dict(zip(grid, values, strict=True))}
        found = [index for index, rule in enumerate(excludes) if _excluded(given, rule)]
        for index in found:
            hits[index] += 1
        if not found:
            cell = _cell(file, given, grid)
            cells.setdefault(cell.key, cell)
    if 0 in hits:
        raise InvalidParameter(f"{file}: [[exclude]] {hits.index(0) + 1} leaves out no cell; check its values against [grid] and [task]")
    if not cells:
        raise InvalidParameter(f"{file}: every cell is left out by [[exclude]]; leave at least one")
    return tuple(sorted(cells.values(), key=lambda cell: [str(cell.config[key]) for key in DATA_KEYS]))


def _excluded(given: Table, rule: Mapping[str, list[Any]]) -> bool:
    complete = Cell.defaults(given)
    return all(any(_same(complete[key], value) for value in values) for key, values in rule.items())


def _same(value: Any, wanted: Any) -> bool:
    """Whether a value is the one to exclude; a name without options stands for any options."""
    if isinstance(value, tuple) and not wanted[1]:
        return bool(value[0] == wanted[0])
    return bool(value == wanted)


def _cell(file: Path, given: Table, grid: Mapping[str, Any]) -> Cell:
    try:
        return Cell.of(given)
    except InvalidParameter as error:
        place = ", ".join(f"{shown(key)} = {_text(given[key])}" for key in grid)
        raise InvalidParameter(f"{file}: the cell with {place}: {error}" if place else f"{file}: {error}") from None


def _text(value: Any) -> str:
    return repr(value[0]) if isinstance(value, tuple) else repr(value)


def check_data(file: Path, cells: Iterable[Cell], root: str) -> None:
    """Raise `InvalidParameter` where this machine lacks data of the cells."""
    for dataset in sorted({cell.config["dataset"] for cell in cells}):
        problem = missing(dataset, root_of(root))
        if problem:
            raise InvalidParameter(f"{file}: data-root: {problem}")


def _check_partitions(file: Path, cells: Iterable[Cell], root: str) -> None:
    """Divide the data as each cell wants it."""
    found = {tuple(str(cell.config[key]) for key in (*DATA_KEYS, "shares", "num_malicious")): cell for cell in cells}
    for cell in found.values():
        try:
            partitions(cell.task(root))
        except InvalidParameter as error:
            raise InvalidParameter(f"{file}: the cell {cell}: {error}") from None


def _check_models(file: Path, cells: Iterable[Cell], root: str) -> None:
    """Make each model for each data set."""
    from flwr_byzantine.experiments.tasks.models import model  # loads PyTorch, which the divided data has done too

    found = {tuple(str(cell.config[key]) for key in MODEL_KEYS): cell for cell in cells}
    for cell in found.values():
        try:
            model(cell.task(root))
        except InvalidParameter as error:
            raise InvalidParameter(f"{file}: the cell {cell}: {error}") from None


def _choose(file: Path, content: Table, grid: Mapping[str, list[Any]]) -> tuple[str, ...]:
    found = _spelled(file, "[choose]", content, ["keys"])
    keys = found.get("keys", [])
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InvalidParameter(f"{file}: [choose] keys must be a list of keys of [grid], got {keys!r}")
    candidates = [key for key, values in grid.items() if len(values) > 1 and key not in NOT_CHOSEN]
    for key in map(key_of, keys):
        if key not in candidates:
            where = f"{file}: [choose] keys: "
            raise unknown_name("hyper-parameter with several values in [grid]", shown(key), map(shown, candidates), where)
    return tuple(map(key_of, keys))
