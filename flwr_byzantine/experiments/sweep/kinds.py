"""What the cells of a sweep run: a task of the package, or an app. It says which keys a file may hold, and checks the cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.sweep.cell import Cell
from flwr_byzantine.experiments.sweep.keys import CELL, checked, in_file
from flwr_byzantine.experiments.tasks.partitions import partitions

DATA_KEYS = (
    *("dataset", "dataset_options", "normalize", "validation"),
    *("num_clients", "seed", "partition", "partition_options", "alpha", "gamma"),
)  # cells equal in these share loaded data
TASK_KEYS = (*DATA_KEYS, "shares", "num_malicious", "model", "hidden", "method", "batch_size")  # and these shares and models


class Kind(Protocol):
    """What cells run.

    Attributes:
        keys: that a cell has.
        fixed: values that all cells have, beside those of [task] and [sweep].
    """

    keys: Sequence[str]
    fixed: Mapping[str, Any]

    def refused(self, key: str) -> str:
        """Why a key of another kind is none here; empty where it is of no kind."""

    def checked(self, where: str, key: str, value: Any) -> Any:
        """One value of a key as the results hold it; see `keys.checked`."""

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A value for every key."""

    def cell(self, given: Mapping[str, Any]) -> Cell:
        """A cell; see `Cell.of`."""

    def check(self, file: Path, cells: Iterable[Cell], root: str) -> None:
        """Raise `InvalidParameter` where a cell cannot run here."""

    def check_choice(self, file: Path, cells: Iterable[Cell]) -> None:
        """Raise `InvalidParameter` where hyper-parameters cannot be chosen."""


class Tasks:
    """Cells that run the package's own tasks."""

    keys: Sequence[str] = list(CELL)
    fixed: Mapping[str, Any] = {}

    def refused(self, key: str) -> str:
        """Run configs are of apps."""
        return "run configs are of apps; name one by [app] path" if key.startswith("app_") else ""

    def checked(self, where: str, key: str, value: Any) -> Any:
        """As `keys.checked`."""
        return checked(where, key, value)

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """As `Cell.defaults`."""
        return Cell.defaults(given)

    def cell(self, given: Mapping[str, Any]) -> Cell:
        """As `Cell.of`."""
        return Cell.of(given)

    def check(self, file: Path, cells: Iterable[Cell], root: str) -> None:
        """Look for the data, divide them as each cell wants it, and make its model."""
        cells = list(cells)
        check_data(file, cells, root)
        _check_tasks(file, cells, root)

    def check_choice(self, file: Path, cells: Iterable[Cell]) -> None:
        """There must be a validation split."""
        if not all(cell.config["validation"] for cell in cells):
            raise InvalidParameter(f"{file}: [choose] needs a validation split to choose on, got validation = 0; set it, say to 0.1")


def check_data(file: Path, cells: Iterable[Cell], root: str) -> None:
    """Raise `InvalidParameter` where this machine lacks data, or the app, of the cells."""
    for _, cell in sorted({cell.source: cell for cell in cells}.items()):
        problem = cell.lacking(root)
        if problem:
            raise InvalidParameter(f"{file}: {problem}")


def _check_tasks(file: Path, cells: Iterable[Cell], root: str) -> None:
    """Divide the data and make the model as each cell wants it."""
    from flwr_byzantine.experiments.tasks.models import model  # loads PyTorch, which the data do too

    found = {tuple(str(cell.config[key]) for key in TASK_KEYS): cell for cell in cells}
    for cell in found.values():
        try:
            partitions(cell.task(root))
            model(cell.task(root))
        except InvalidParameter as error:
            raise InvalidParameter(f"{file}: the cell {cell}: {in_file(error)}") from None
