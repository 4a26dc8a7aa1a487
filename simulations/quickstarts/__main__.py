"""An app in process, under Flower's FedAvg and under the strategy of this package, without and with one malicious client.

python -m simulations.quickstarts keras
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import re
import sys
import tomllib
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from flwr.app import Context, RecordDict

from flwr_byzantine import LocalGrid

FOLDER = Path(__file__).parent
APPS = sorted(path.parent.name for path in FOLDER.glob("*/pyproject.toml"))
CHANGED = re.compile(r"^(from flwr_byzantine[\w.]* import \w+ as Strategy)  # was: (from flwr\..+ import \w+ as Strategy)$", re.MULTILINE)
CLIENTS = 10


def imports(source: str) -> tuple[str, str]:
    """The import of Flower's strategy, and the one that took its place."""
    (found,) = CHANGED.finditer(source)
    return found[2], found[1]


def with_import(path: Path, line: str) -> ModuleType:
    """The module of the server with this import of a strategy."""
    module = ModuleType(path.stem)
    exec(CHANGED.sub(line, path.read_text(encoding="utf-8")), module.__dict__)
    return module


def run(server: ModuleType, client: ModuleType, config: dict[str, Any]) -> float:
    """The accuracy in % that the server prints at the end."""
    with LocalGrid(client.app, CLIENTS, run_config=config) as grid, redirect_stdout(io.StringIO()) as printed:
        server.app(grid, Context(1, 1, {}, RecordDict(), config))
    return float(re.search(r"^test accuracy: ([\d.]+) %$", printed.getvalue(), re.MULTILINE)[1])


def compared(name: str) -> dict[str, list[float]]:
    """Import -> accuracies without and with a malicious client.

    Args:
        name: of the app, the folder's. One for each process: frameworks do not like each other's company.
    """
    folder = FOLDER / name
    settings = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["flwr"]["app"]
    sys.path.insert(0, str(folder))
    package = settings["components"]["clientapp"].split(".")[0]
    client, path = importlib.import_module(f"{package}.client_app"), folder / package / "server_app.py"
    servers = {line: with_import(path, line) for line in imports(path.read_text(encoding="utf-8"))}
    configs = [{**settings["config"], "num-malicious": number} for number in (0, 1)]
    return {line: [run(server, client, config) for config in configs] for line, server in servers.items()}


def main() -> None:
    """Print the accuracies as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("app", choices=APPS)
    print(json.dumps(compared(parser.parse_args().app), indent=1))


if __name__ == "__main__":
    main()
