"""Wheel, sdist and clone install by pip and by uv, hold flwr_byzantine only, and work with the core alone; each extra resolves."""

import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from flwr_byzantine.declare import extras
from tests.support.environments import CLEAN, Pip, Uv, run, uv

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = sorted(PROJECT["project"]["optional-dependencies"])
CORE = """
import importlib.util, sys
import numpy as np
import flwr_byzantine
from flwr_byzantine import Krum, rules

assert not [name for name in ("clients", "simulations", "tests", "scipy", "sklearn", "torch") if importlib.util.find_spec(name)]
X = np.array([[0.0], [1.0], [1.1], [1.2], [1.3], [1.4], [90.0]])
assert rules.Krum(f=1)(X).tolist() == [1.2]
for rule in rules.available():  # all of them, without SciPy and scikit-learn
    if not issubclass(rule, rules.PreAggregation):
        rules.parse(rule.__name__, f=1)(X, **({"trusted": X[1]} if rule is rules.FLTrust else {}))
assert issubclass(Krum, __import__("flwr.serverapp.strategy").serverapp.strategy.FedAvg)
print(flwr_byzantine.__file__)
"""
NEEDS = {
    "import flwr_byzantine.client": "flwr_byzantine.client needs torch, which is not installed; "
    "install it with: pip install 'flwr-byzantine[torch]'",
    "from flwr_byzantine import rules, theory; theory.empirical_kappa(rules.Median(), 3, d=1, starts=1, steps=1, f=1)": "empirical_kappa "
    "needs scipy, which is not installed; install it with: pip install 'flwr-byzantine[theory]'",
}


def test_the_version_is_written_once():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert "version" not in PROJECT["project"]


def test_every_extra_for_users_is_named_where_it_is_missing():
    assert set(extras.EXTRAS.values()) == set(EXTRAS) - {"dev", "docs", "quickstarts"}


def test_nothing_here_changes_what_a_user_of_uv_gets():
    assert "uv" not in PROJECT["tool"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and sdist; the wheel is built from the sdist, as `build` does."""
    out = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist, "clone": ROOT}


@pytest.mark.slow
def test_the_wheel_holds_the_package_only(built):
    with zipfile.ZipFile(built["wheel"]) as archive:
        names = archive.namelist()
        about = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(about).decode())
    assert {name.split("/")[0] for name in names} == {"flwr_byzantine", Path(about).parts[0]}
    data = {f"flwr_byzantine/{name}" for name in ("py.typed", "declare/papers.bib", "experiments/report/page.html.j2")}
    assert data <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert (metadata["License-Expression"], metadata["Author"]) == ("Apache-2.0", "the flwr-byzantine developers")


@pytest.mark.slow
@pytest.mark.parametrize("tool", [Pip, Uv])
def test_the_core_installs_from_wheel_sdist_and_clone_and_aggregates(built, tool, tmp_path):
    """In one new environment after another form, in a working directory outside the checkout."""
    place = tool(tmp_path / "env")
    for form, options in (("sdist", ()), ("clone", ("--editable",)), ("wheel", ())):
        place.install(*options, built[form])
        found = Path(run(place.python, "-I", "-c", CORE, cwd=tmp_path).strip())
        assert (found.parents[1] == ROOT) == (form == "clone"), f"{form}: {found}"
    command = place.python.parent / "flwr-byzantine"
    assert "SignFlip" in run(command, "attacks", cwd=tmp_path)
    for code, sentence in NEEDS.items():
        done = subprocess.run([place.python, "-I", "-c", code], env=CLEAN, capture_output=True, text=True, check=False)
        assert done.stderr.splitlines()[-1] == f"flwr_byzantine.errors.MissingExtra: {sentence}"
    done = subprocess.run([command, "demo"], cwd=tmp_path, env=CLEAN, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "install it with: pip install 'flwr-byzantine[" in " ".join((done.stdout + done.stderr).split())


@pytest.mark.slow
@pytest.mark.parametrize(("extra", "code"), [
    ("fast", "from flwr_byzantine.arrays import loops"),
    ("theory", "from flwr_byzantine import rules, theory; theory.empirical_kappa(rules.Median(), 3, d=1, starts=1, steps=1, f=1)"),
    ("torch", "from flwr_byzantine.client import gradient_reply"),
])  # fmt: skip
def test_an_extra_brings_what_it_is_for(built, tmp_path, extra, code):
    place = Uv(tmp_path / "env")
    place.install(f"{built['wheel']}[{extra}]")
    run(place.python, "-I", "-c", code, cwd=tmp_path)


@pytest.mark.slow
def test_every_extra_resolves_with_both_tools(built):
    for extra in EXTRAS:
        uv("pip", "install", "--dry-run", "--python", sys.executable, f"{built['wheel']}[{extra}]")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", f"{built['wheel']}[{','.join(EXTRAS)}]")
