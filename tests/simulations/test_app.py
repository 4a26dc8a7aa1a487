"""The Flower app: its settings, what Flower packs of it, that it uses the library as a user's app does, and its federations in process."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import flwr_byzantine
from flwr_byzantine import InvalidParameter, LocalGrid, rules

ROOT = Path(__file__).parents[2]
APPS = ROOT / "simulations"
sys.path.append(str(APPS / "app"))

from byzantine_simulation import client_app, server_app  # noqa: E402
from byzantine_simulation.settings import SIMULATE, Settings  # noqa: E402

PROJECTS = {name: tomllib.loads((APPS / name / "pyproject.toml").read_text(encoding="utf-8")) for name in ("app", "template")}
CONFIG = PROJECTS["app"]["tool"]["flwr"]["app"]["config"]


def test_defaults_are_the_demos_setting():
    settings = Settings.read(CONFIG)
    assert settings.rule_for(20) == rules.chain(rules.NNM(f=4), rules.TrimmedMean(f=4))
    assert settings.mounted().scale == 10.0
    assert settings.malicious(20) == 4


def test_with_flowers_two_supernodes_nobody_attacks_and_any_rule_works():
    settings = Settings.read(CONFIG)
    assert settings.malicious(2) == 0
    assert settings.rule_for(2).min_n() <= 2


@pytest.mark.parametrize("name", [cls.__name__ for cls in rules.available() if not issubclass(cls, rules.PreAggregation)])
def test_any_rule_may_be_named_in_the_settings(name):
    assert Settings.read({**CONFIG, "strategy": name, "f": 2}).rule_for(20).min_n() <= 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "krumm"}, "unknown rule 'krumm'; did you mean 'Krum'\\? choose one of: "),
        ({"strategy": "nnm"}, "only pre-aggregates|end with an aggregation rule"),
        ({"attack": "allie"}, "unknown attack 'allie'; did you mean 'ALIE'\\? choose one of: "),
        ({"attack": "alie(y=1)"}, "attack 'alie\\(y=1\\)' cannot be made: .*'y'"),
        ({"attack": "alie(z="}, "attack must be a name with its parameters, such as \"alie\\(z=1.5\\)\", got 'alie\\(z='"),
        ({"attack": "alie(1.5)"}, "attack must be a name with its parameters"),
        ({"dataset": "cifar"}, "dataset must be one of digits, fashion-mnist, got 'cifar'"),
        ({"partition": "shards"}, "partition must be one of dirichlet, iid, got 'shards'"),
        ({"num-malicious": 20}, "num-malicious = 20 needs more than 20 SuperNodes, got 20: flwr run simulations/app"),
        ({"strategy": "bulyan", "f": 5}, "Bulyan\\(f=5\\) needs at least 23 SuperNodes, got 20; lower f, or simulate more: flwr run"),
        ({"alpha": 0.0}, "alpha must be above 0, got 0.0"),
        ({"num-server-rounds": "ten"}, "num-server-rounds must be a whole number, got 'ten'"),
        ({"num-server-rounds": 1.5}, "num-server-rounds must be a whole number, got 1.5"),
        ({"num-malicious": True}, "num-malicious must be a whole number, got True"),
        ({"lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"strategy": 3}, "strategy must be a text, got 3"),
        ({"f": -5}, "f must be -1 or above, got -5"),
        ({"seed": -1}, "seed must be 0 or above, got -1"),
    ],
)
def test_mistakes_get_one_clear_sentence(change, message):
    with pytest.raises(InvalidParameter, match=message) as caught:
        Settings.read({**CONFIG, **change}).rule_for(20)
    assert "\n" not in str(caught.value)


def federation(tmp_path, n=20, **changes):
    """A run in this process; what the app wrote."""
    config = {**CONFIG, "wait": 0.1, "num-server-rounds": 2, "results": str(tmp_path / "out.json")}
    config |= {key.replace("_", "-"): value for key, value in changes.items()}
    grid = LocalGrid(client_app.app, n)
    for context in grid.contexts.values():
        context.run_config = config
    server_app.main(grid, SimpleNamespace(run_config=config))
    return json.loads((tmp_path / "out.json").read_text())


def test_fedavg_fails_where_the_robust_strategy_learns(tmp_path):
    reports = tmp_path / "reports.jsonl"
    robust, plain = (federation(tmp_path, strategy=name, reports=str(reports)) for name in ("nnm+trimmed-mean", "fedavg"))
    assert robust["accuracy"][2] > robust["accuracy"][0] + 0.2
    assert plain["accuracy"][2] < 0.2
    assert (robust["nodes"], robust["malicious"]) == (20, 4)
    assert [json.loads(line)["n_valid"] for line in reports.read_text().splitlines()] == [20, 20]


@pytest.mark.parametrize("changes", [{"method": "byzantine-sgd", "worker_momentum": 0.5}, {"attack": "label-flip", "partition": "iid"}])
def test_other_methods_and_attacks_run(tmp_path, changes):
    found = federation(tmp_path, **changes)
    assert found["loss"][2] < found["loss"][0]


def test_two_nodes_are_told_the_command_for_twenty(tmp_path, caplog):
    found = federation(tmp_path, n=2, num_server_rounds=1)
    assert found["malicious"] == 0
    assert f"for 20, of which 4 attack: {SIMULATE}" in caplog.text


def test_results_that_cannot_be_written_are_refused_before_the_run(tmp_path):
    config = {**CONFIG, "results": str(tmp_path / "none" / "out.json")}
    with pytest.raises(InvalidParameter, match=r"results must be a file in a folder that is there, got '.*none"):
        server_app.main(None, SimpleNamespace(run_config=config))


def test_a_supernode_without_a_partition_is_told_how_to_start():
    with pytest.raises(ValueError, match="has no 'partition-id': start it with --node-config 'partition-id=0 num-partitions=5'"):
        client_app.task.which(SimpleNamespace(node_config={}))


# Both apps


@pytest.mark.parametrize("name", PROJECTS)
def test_an_app_uses_the_library_by_its_public_names(name):
    files = list((APPS / name).rglob("*.py"))
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    modules = {node.module for node in nodes if node.module and node.module.startswith("flwr_byzantine.")}
    names = {alias.name for node in nodes if node.module == "flwr_byzantine" for alias in node.names}
    assert files
    assert names
    assert names <= set(flwr_byzantine.__all__)
    assert {module.removeprefix("flwr_byzantine.") for module in modules} <= set(flwr_byzantine.__all__)


@pytest.mark.parametrize("name", PROJECTS)
def test_dependencies_are_on_registries_and_the_library_is_a_line_to_uncomment(name):
    assert [item for item in PROJECTS[name]["project"]["dependencies"] if "byzantine" in item] == []
    text = (APPS / name / "pyproject.toml").read_text(encoding="utf-8")
    assert text.count('    # "flwr-byzantine",  # on no registry yet') == 1
    later = tomllib.loads(text.replace('# "flwr-byzantine",', '"flwr-byzantine",'))
    assert "flwr-byzantine" in later["project"]["dependencies"]


@pytest.mark.parametrize("name", PROJECTS)
def test_flower_packs_an_app_of_the_hubs_format_with_its_licence(name, tmp_path):
    command = [Path(sys.executable).parent / "flwr", "build", "--app", APPS / name]
    environment = {**os.environ, "FLWR_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "missing" not in done.stdout
    (bundle,) = tmp_path.glob("*.fab")
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
    package = PROJECTS[name]["tool"]["flwr"]["app"]["components"]["serverapp"].split(".")[0]
    assert PROJECTS[name]["tool"]["flwr"]["app"]["fab-format-version"] == 1
    assert {"LICENSE", "README.md", "pyproject.toml", f"{package}/server_app.py", f"{package}/client_app.py"} <= set(names)
    assert {Path(item).suffix for item in names if not item.startswith(".info/")} == {".py", ".toml", ".md", ""}
    assert (APPS / name / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("name", PROJECTS)
def test_without_the_library_flower_says_at_once_how_to_install_it(name, tmp_path):
    """What `flwr run` does first: it looks for the app's modules."""
    package = PROJECTS[name]["tool"]["flwr"]["app"]["components"]["serverapp"].split(".")[0]
    code = f"import sys; sys.modules['flwr_byzantine'] = None; import {package}"
    done = subprocess.run([sys.executable, "-c", code], cwd=APPS / name, capture_output=True, text=True, check=False)
    said = done.stderr.splitlines()[-1]
    assert said.startswith("ModuleNotFoundError: this app needs flwr-byzantine beside Flower; install it from a clone of its repository")
    assert said.endswith(f"uv pip install --python {sys.executable} --editable PATH/TO/THE/CLONE")


def test_the_templates_folder_may_be_renamed_as_the_page_says(tmp_path):
    shutil.copytree(APPS / "template" / "robust_app", tmp_path / "my_app", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import my_app.server_app, my_app.client_app, sys; assert not [name for name in sys.modules if 'robust_app' in name]"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
