"""The wheel holds flwr_byzantine only, and works where nothing of this checkout is on the path."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AGGREGATE = """
import numpy as np
import flwr_byzantine
from flwr_byzantine import rules
assert "site-packages" in flwr_byzantine.__file__, flwr_byzantine.__file__
print(rules.Krum(f=1)(np.array([[0.0], [1.0], [1.1], [1.2], [90.0]])))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT], check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_top_level_is_the_package_only(wheel):
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert names == {"flwr_byzantine", next(name for name in names if name.endswith(".dist-info"))}
    data = {f"flwr_byzantine/{name}" for name in ("py.typed", "declare/papers.bib", "experiments/report/page.html.j2")}
    assert data <= set(zipfile.ZipFile(wheel).namelist())
    assert any(name.endswith("licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow
def test_wheel_in_a_clean_environment_aggregates(wheel, tmp_path):
    """A new virtual environment, the wheel with what it requires, a working directory outside the checkout."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-I", "-m", "pip", "install", "--quiet", wheel], check=True, capture_output=True)
    done = subprocess.run([python, "-I", "-c", AGGREGATE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[1.1]", done.stderr
    strategy = "from flwr_byzantine import Krum; print(type(Krum(num_malicious_nodes=1)).__mro__[-3].__name__)"
    assert "Strategy" in subprocess.run([python, "-I", "-c", strategy], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    command = [tmp_path / "env" / "bin" / "flwr-byzantine", "attacks"]  # the command line needs no extras for what is only a list
    assert "SignFlip" in subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    clash = "import importlib.util as u; print([m for m in ('clients', 'simulations', 'tests') if u.find_spec(m)])"
    assert subprocess.run([python, "-I", "-c", clash], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip() == "[]"
