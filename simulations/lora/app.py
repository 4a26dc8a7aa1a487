"""The Flower app in one process, without `flwr run`; run config as arguments.

python -m simulations.lora.app rule=nnm+krum attack=hidden num-malicious=3
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from flwr.app import Context, RecordDict

from flwr_byzantine import LocalGrid

FOLDER = Path(__file__).parent


def main(arguments: list[str]) -> None:
    """Run the app's server and twelve of its clients."""
    sys.path.insert(0, str(FOLDER))
    from lora_digits import client_app, server_app

    config = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["flwr"]["app"]["config"]
    for argument in arguments:
        name, value = argument.split("=")
        config[name] = type(config[name])(value)
    with LocalGrid(client_app.app, 12, run_config=config) as grid:
        server_app.app(grid, Context(1, 1, {}, RecordDict(), config))


if __name__ == "__main__":
    main(sys.argv[1:])
