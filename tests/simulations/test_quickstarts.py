"""Small apps in the form of Flower's quickstarts: one import changed, and one malicious client does no harm."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from simulations.quickstarts.__main__ import APPS, imports
from tests.support.processes import end_all, free_ports

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "simulations/quickstarts"
NEEDS = {"jax": "flax", "keras": "keras", "peft": "peft"}  # what is not everywhere


def server(app):
    (path,) = (FOLDER / app).glob("*/server_app.py")
    return path.read_text(encoding="utf-8")


def table(app):
    """Import -> accuracies without and with a malicious client, as the how-to has them."""
    page = (ROOT / f"docs/howto/{app}.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(from .+)` \| ([\d.]+) % \| ([\d.]+) % \|$", page, re.MULTILINE)
    return {line: [float(without), float(attacked)] for line, without, attacked in rows}


def test_all_frameworks_have_an_app_and_a_page():
    assert APPS == ["jax", "keras", "legacy", "numpy", "peft", "scikit-learn"]
    assert [app for app in APPS if not (ROOT / f"docs/howto/{app}.md").exists()] == []


@pytest.mark.parametrize("app", APPS)
def test_one_import_is_all_that_changes_and_the_page_says_which(app):
    flowers, ours = imports(server(app))
    assert list(table(app)) == [flowers, ours]
    assert server(app).count("flwr_byzantine") == 1
    assert not any(word in server(app) for word in ("judge", "Robust", "trained_names"))


@pytest.mark.slow
@pytest.mark.parametrize("app", APPS)
def test_one_malicious_client_of_ten_breaks_fedavg_alone(app):
    """In a process of its own, since frameworks do not like each other's company."""
    if app in NEEDS and not importlib.util.find_spec(NEEDS[app]):
        pytest.skip(f"needs {NEEDS[app]}, of the extra `quickstarts`")
    command = [sys.executable, "-m", "simulations.quickstarts", app]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found, (flowers, ours) = json.loads(done.stdout), imports(server(app))
    assert found[flowers][1] < 40 < 75 < min(found[ours])
    assert found[flowers][0] - 4 < found[ours][0]
    assert {line: pytest.approx(values, abs=4) for line, values in table(app).items() if line == ours} == {ours: found[ours]}


@pytest.mark.slow
def test_flwr_run_with_flowers_defaults(tmp_path):
    """The app as it lies there, on the two SuperNodes of Flower's default federation."""
    home, (port,) = tmp_path / "home", free_ports(1)
    paths = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment = {**os.environ, **paths, "FLWR_HOME": str(home), "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port)}
    command = ["flwr", "run", "simulations/quickstarts/numpy", "--stream"]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
        accuracy = re.search(r"test accuracy: ([\d.]+) %", done.stdout)
        assert accuracy, done.stdout[-3000:] + done.stderr[-2000:]
        assert float(accuracy[1]) > 85
    finally:
        assert end_all(home)


@pytest.mark.parametrize("app", APPS)
def test_an_app_needs_what_registries_have(app):
    """`flwr run` gives an app an environment with these; the library is on no registry yet."""
    project = tomllib.loads((FOLDER / app / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert not any(item.startswith("flwr-byzantine") for item in project["dependencies"])
