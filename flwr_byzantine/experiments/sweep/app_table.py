"""The table [app] of a sweep's file: a Flower project whose own clients the cells run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from flwr_byzantine.declare.names import unknown_name
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.apps.project import App, Project, Scalar, flattened
from flwr_byzantine.experiments.apps.trial import Case, tried
from flwr_byzantine.experiments.sweep.app_cell import FEDERATION, AppCell, complete, run_key
from flwr_byzantine.experiments.sweep.cell import Cell
from flwr_byzantine.experiments.sweep.keys import CELL, check_finite, checked, key_of, shown

NAMES = ("initial", "evaluate", "accuracy", "loss")
TABLES = ("config", "train_config")


class AppCells:
    """Cells that run one app; a `kinds.Kind`.

    Args:
        file: the sweep's.
        table: [app].

    Raises:
        InvalidParameter: there is no such app, or a mistake in the table.
    """

    def __init__(self, file: Path, table: Mapping[str, Any]) -> None:
        found = {key_of(key): value for key, value in table.items()}
        for key in found:
            if key not in ("path", *NAMES, *TABLES):
                raise unknown_name("key in [app]", shown(key), map(shown, ("path", *NAMES, *TABLES)), f"{file}: ")
        project = _project(file, found.get("path"))
        names = {key: _name(file, key, found.get(key, "")) for key in NAMES}
        told = _told(file, _table(file, "train_config", found))
        self.app = App(project, project.config, train_config=told, **names)
        self._names = {run_key(name): name for name in project.config}
        self.keys: Sequence[str] = [*FEDERATION, *self._names]
        self.fixed: Mapping[str, Any] = self._overridden(file, _table(file, "config", found))

    def _overridden(self, file: Path, table: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of [app.config]."""
        names = list(self.app.config)
        for name in (name for name, _ in flattened(table) if name not in names):
            raise unknown_name("key in [app.config]", name, names, f"{file}: ")
        return {run_key(name): self.checked(f"{file}: [app.config]", run_key(name), value) for name, value in flattened(table)}

    def refused(self, key: str) -> str:
        """Keys of tasks are none."""
        if key not in CELL:
            return ""
        own = ", ".join(sorted(map(shown, self._names))) or "none, for its pyproject.toml has no [tool.flwr.app.config]"
        return f"it is of the package's own tasks; the app's own settings are: {own}"

    def checked(self, where: str, key: str, value: Any) -> Any:
        """A value of the run config must be of the kind of the app's own."""
        if key not in self._names:
            return checked(where, key, value)
        name = self._names[key]
        check_finite(f"{where} {name}", value)
        default = self.app.config[name]
        if type(default) is float and type(value) is int:
            return float(value)
        if type(value) is not type(default):
            raise InvalidParameter(f"{where} {name} must be a value like the app's own, {default!r}, got {value!r}")
        return value

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """As `app_cell.complete`."""
        return complete(self.app, given)

    def cell(self, given: Mapping[str, Any]) -> Cell:
        """As `AppCell.over`."""
        return AppCell.over(self.app, given)

    def check(self, file: Path, cells: Iterable[Cell], root: str) -> None:
        """Import the app, make its first model by each run config, and evaluate one: in a process of its own."""
        cases: dict[tuple[Scalar, ...], Case] = {}
        for cell in (cell for cell in cells if isinstance(cell, AppCell)):
            app = cell.configured()
            cases.setdefault(tuple(app.config.values()), Case(app, cell.config["num_clients"], cell.config["seed"]))
        problem = tried(list(cases.values()))
        if problem:
            raise InvalidParameter(f"{file}: [app] {problem}")

    def check_choice(self, file: Path, cells: Iterable[Cell]) -> None:
        """An app has no validation split that the package knows of."""
        raise InvalidParameter(f"{file}: [choose] needs a validation split to choose on, which an app does not say it has; leave it out")


def _project(file: Path, path: Any) -> Project:
    """The project in a folder, which is named as seen from the sweep's file, or from the current folder."""
    if not isinstance(path, str) or not path:
        raise InvalidParameter(f'{file}: [app] path must be the folder of a Flower project, such as path = "my-app", got {path!r}')
    places = [file.parent / path, Path(path)]
    found = next((place for place in places if place.is_dir()), places[0])
    try:
        return Project.read(found)
    except InvalidParameter as error:
        raise InvalidParameter(f"{file}: [app] path: {error}") from None


def _name(file: Path, key: str, value: Any) -> str:
    wanted = '"module:name", of a module in the app\'s folder' if key in ("initial", "evaluate") else "the name of a metric"
    if not isinstance(value, str) or (value and key in ("initial", "evaluate") and not all(value.partition(":")[::2])):
        raise InvalidParameter(f"{file}: [app] {key} must be {wanted}, got {value!r}")
    return value


def _told(file: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of [app.train-config], which must be what a message can carry."""
    told = dict(flattened(table))
    for name, value in told.items():
        where, kinds = f"{file}: [app.train-config] {name}", {type(item) for item in (value if isinstance(value, list) else [value])}
        check_finite(where, value)
        if len(kinds) > 1 or kinds - set(get_args(Scalar)):
            raise InvalidParameter(f"{where} must be a number, a string, true or false, or a list of values of one kind, got {value!r}")
    return told


def _table(file: Path, key: str, table: Mapping[str, Any]) -> dict[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, dict):
        raise InvalidParameter(f"{file}: {key} must be a table, written [app.{shown(key)}], got {found!r}")
    return found
