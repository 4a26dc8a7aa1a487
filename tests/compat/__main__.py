"""Does this project work with other versions of Flower?

    python -m tests.compat                  # every minor version since 1.38, and the nightly
    python -m tests.compat 1.40.0 nightly   # these

For each version a throw-away environment is made with the project's core dependencies, and `tests.compat.probe` runs in
it: what is expected of Flower's inside, imports, audits in both APIs, and one federation in process. Prints a table; the
exit status is 1 where anything failed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
OLDEST = (1, 38)
COLUMNS = ("inside", "imports", "audits", "federation")


def versions() -> list[str]:
    """The newest patch of each minor version since the oldest that is supported, oldest first; then the nightly."""
    done = subprocess.run([sys.executable, "-m", "pip", "index", "versions", "flwr"], capture_output=True, text=True, check=True)
    found = re.search(r"Available versions: (.*)", done.stdout)
    assert found is not None, done.stdout
    newest = dict[tuple[int, ...], str]()
    for version in reversed(found[1].split(", ")):
        newest[tuple(map(int, version.split(".")[:2]))] = version
    return [newest[minor] for minor in sorted(newest) if minor >= OLDEST] + ["nightly"]


def requirements(version: str) -> list[str]:
    """The project's core dependencies with this version of Flower."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    flower = ["flwr-nightly>=1.0.dev0"] if version == "nightly" else [f"flwr=={version}"]
    return [*flower, *(item for item in wanted if not item.startswith("flwr"))]


def probed(version: str, folder: str) -> dict[str, str]:
    """What the probe says of a version, by column; where there is no environment or no answer, why."""
    venv.create(folder, with_pip=True)
    python = str(Path(folder, "bin", "python"))
    install = [python, "-m", "pip", "install", "--quiet", "--no-compile", *requirements(version)]
    made = subprocess.run(install, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return {"version": version, "inside": f"pip: {made.stderr.strip()[-300:]}"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLWR_HOME": folder, "FLWR_TELEMETRY_ENABLED": "0"}
    done = subprocess.run(
        [python, "-m", "tests.compat.probe"], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode != 0:
        return {"version": version, "inside": f"probe: {done.stderr.strip()[-300:]}"}
    answer: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main(wanted: list[str]) -> int:
    """Probe the versions one after another and print a table; 1 where anything failed."""
    table = Table("Flower", *COLUMNS, title="this project with versions of Flower")
    failed, models = False, set[str]()
    for version in wanted or versions():
        with tempfile.TemporaryDirectory() as folder:
            answer = probed(version, folder)
        row = [answer.get(column, "not reached") for column in COLUMNS]
        failed |= not all(cell.startswith("ok") for cell in row)
        models.add(answer.get("federation", ""))
        table.add_row(answer["version"], *row)
        print(answer, flush=True)
    Console(width=140).print(table)
    if len(models) > 1:
        print("the federation ends with another model under another version")
    return int(failed or len(models) > 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
