"""A Flower project as its pyproject.toml describes it, and what an experiment must be told of it beside that."""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr_byzantine.errors import InvalidParameter

Scalar = bool | int | float | str
WANTED = "give the folder of a Flower project, which has a pyproject.toml with [tool.flwr.app.components]"


@dataclass(frozen=True)
class Project:
    """A Flower project, read without running any of its code.

    Attributes:
        folder: absolute path.
        name: of the project.
        clientapp: its ClientApp, "module:attribute".
        serverapp: its ServerApp; "" where it has none.
        config: its run config, flat as clients see it: a table [model] with a key depth is "model.depth".
        packages: names of the packages that it depends on.
        sources: a hash of the Python files in the folder, so that a changed app is another one.
    """

    folder: str
    name: str
    clientapp: str
    serverapp: str
    config: Mapping[str, Scalar]
    packages: tuple[str, ...]
    sources: str

    @classmethod
    def read(cls, folder: Path) -> Project:
        """The project in a folder.

        Raises:
            InvalidParameter: there is none.

        Example:
            >>> import tempfile
            >>> folder = Path(tempfile.mkdtemp())
            >>> _ = (folder / "pyproject.toml").write_text('''
            ... [project]
            ... name = "digits"
            ... [tool.flwr.app.components]
            ... clientapp = "digits.client_app:app"
            ... [tool.flwr.app.config]
            ... lr = 0.1
            ... model.depth = 3
            ... ''')
            >>> project = Project.read(folder)
            >>> project.name, project.clientapp, project.config
            ('digits', 'digits.client_app:app', {'lr': 0.1, 'model.depth': 3})
        """
        tables = _tables(folder)
        about, flower = _table(tables, "project"), _table(tables, "tool", "flwr", "app")
        components = _table(flower, "components")
        if not components.get("clientapp"):
            raise InvalidParameter(f"{folder}/pyproject.toml names no ClientApp: [tool.flwr.app.components] has no clientapp; {WANTED}")
        packages = [re.match(r"[\w.-]+", text) for text in about.get("dependencies", ()) if isinstance(text, str)]
        return cls(
            str(folder.resolve()),
            str(about.get("name") or folder.resolve().name),
            str(components["clientapp"]),
            str(components.get("serverapp") or ""),
            _run_config(folder, dict(flattened(_table(flower, "config")))),
            tuple(found[0] for found in packages if found),
            _hash(folder),
        )


@dataclass(frozen=True)
class App:
    """What an experiment must know of a project to run it.

    Attributes:
        project: the project.
        config: the run config of all clients, complete.
        initial: "module:name" of the first model, or of what makes it; "" is the model in the first training message of the
            project's ServerApp, whose settings for clients hold then in every round.
        train_config: settings in each message to clients, beside the server round; where `initial` is "" they go on top of the
            ServerApp's.
        evaluate: "module:function" that evaluates a model centrally; "" asks the clients.
        accuracy, loss: what the two are called by it, or by the clients; "" finds them.
    """

    project: Project
    config: Mapping[str, Scalar]
    initial: str = ""
    train_config: Mapping[str, Scalar] = field(default_factory=dict)
    evaluate: str = ""
    accuracy: str = ""
    loss: str = ""


def _run_config(folder: Path, config: dict[str, Any]) -> dict[str, Scalar]:
    """The run config, whose values must be of the kinds that Flower takes."""
    for name, value in config.items():
        if not isinstance(value, Scalar) or (isinstance(value, float) and not math.isfinite(value)):
            problem = f"{name} in [tool.flwr.app.config] must be a finite number, a string, true or false, got {value!r}"
            raise InvalidParameter(f"{folder}/pyproject.toml: {problem}")
    return config


def _tables(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise InvalidParameter(f"{folder} is no folder; {WANTED}")
    try:
        return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidParameter(f"{folder} has no pyproject.toml that can be read ({error.strerror}); {WANTED}") from None
    except ValueError as error:
        raise InvalidParameter(f"{folder}/pyproject.toml is not TOML: {error}") from None


def _table(tables: Mapping[str, Any], *path: str) -> dict[str, Any]:
    """A table in a table; empty where it is not there."""
    found: Any = tables
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def flattened(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Key and value of each entry, of a table in a table as "table.key", as Flower hands a run config to clients.

    Example:
        >>> dict(flattened({"lr": 0.1, "model": {"depth": 3}}))
        {'lr': 0.1, 'model.depth': 3}
    """
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{above}{key}.")
        else:
            yield above + key, value


def _hash(folder: Path) -> str:
    """SHA-256, sixteen digits of it, of the Python files by their paths; hidden folders and environments apart."""
    found = hashlib.sha256()
    for path in sorted(_sources(folder), key=lambda path: path.relative_to(folder).as_posix()):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        found.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return found.hexdigest()[:16]


def _sources(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.suffix == ".py" and path.is_file():
            yield path
        elif path.is_dir() and not path.name.startswith(".") and not (path / "pyvenv.cfg").exists():
            yield from _sources(path)
