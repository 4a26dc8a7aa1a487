"""The Flower app: its settings, and one real `flwr run . --stream`."""

import json
import logging
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from flwr_byzantine import InvalidParameter, rules
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.partitions import partitions
from simulations.settings import Settings
from tests.support.federation import GOAL, client_app, start, values
from tests.support.processes import end_all, free_ports

ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]


def test_defaults_are_the_demos_setting():
    settings = Settings.read(CONFIG)
    assert settings.rule == rules.chain(rules.NNM(f=4), rules.TrimmedMean(f=4))
    assert settings.attack.scale == 10.0
    assert settings.task.num_clients == 20


@pytest.mark.parametrize("name", [cls.__name__ for cls in rules.available() if not issubclass(cls, rules.PreAggregation)])
def test_any_rule_may_be_named_in_the_settings(name):
    assert Settings.read({**CONFIG, "strategy": name, "f": 2}).rule.min_n() <= 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "krumm"}, "unknown rule 'krumm'; did you mean 'Krum'\\? choose one of: "),
        ({"strategy": "nnm"}, "only pre-aggregates|end with an aggregation rule"),
        ({"attack": "allie"}, "unknown attack 'allie'; did you mean 'ALIE'\\? choose one of: "),
        ({"dataset": "cifar"}, "unknown dataset 'cifar'; choose one of: digits, fashion-mnist"),
        ({"partition": "shards"}, "partition must be one of 'iid', 'dirichlet', 'sorted', 'gamma', got 'shards'"),
        ({"num-malicious": 20}, "num-malicious must be an integer >= 0 and < 20, got 20"),
        ({"strategy": "bulyan", "f": 5}, "needs at least 23 clients, got num-clients = 20; lower f"),
        ({"alpha": 0.0}, "alpha must be a number > 0, got 0.0"),
    ],
)
def test_mistakes_get_one_clear_sentence(change, message):
    with pytest.raises(InvalidParameter, match=message):
        Settings.read({**CONFIG, **change})


RUNS = {
    "local-sgd": "attack='alie' attack-strength=1.5 num-server-rounds=3",
    "byzantine-sgd": "method='byzantine-sgd' lr=0.5 worker-momentum=0.5 batch-size=64 attack='sign-flip' num-server-rounds=10",
}


def test_the_app_that_flower_sends_to_clients_holds_code_only(tmp_path):
    app = tmp_path / "app"
    for name in ("flwr_byzantine", "simulations"):
        shutil.copytree(ROOT / name, app / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, app)
    command, home = [Path(sys.executable).parent / "flwr", "build"], str(tmp_path / "home")
    done = subprocess.run(command, cwd=app, env={**os.environ, "FLWR_HOME": home}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (bundle,) = app.glob("*.fab")
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
    assert {Path(name).suffix for name in names if not name.startswith(".info/")} == {".py", ".toml"}
    assert bundle.stat().st_size < 2e6  # Flower takes 10 MB


@pytest.mark.slow
@pytest.mark.parametrize("method", RUNS)
def test_flwr_run_learns_and_reports_as_the_readme_says(tmp_path, method):
    """As the README says, in a copy of the project and a Flower home of its own; round 1 sees all the nodes."""
    app = tmp_path / "app"
    for name in ("flwr_byzantine", "simulations"):
        shutil.copytree(ROOT / name, app / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", app)
    results, home, (port,) = tmp_path / "out.json", tmp_path / "home", free_ports(1)
    bin_path = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
        "PATH": bin_path + os.pathsep + os.environ["PATH"],
    }
    federation = "num-supernodes=12 client-resources-num-cpus=1 init-args-num-cpus=2"
    config = f"num-clients=12 num-malicious=2 strategy='multi-krum' {RUNS[method]}"
    try:
        done = subprocess.run(
            ["flwr", "run", ".", "--stream", "--federation-config", federation, "-c", f"{config} results='{results}'"],
            cwd=app,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert results.exists(), done.stdout[-3000:] + done.stderr[-2000:]
        found = json.loads(results.read_text())
        assert len(found["accuracy"]) == (4 if method == "local-sgd" else 11)
        assert found["loss"][-1] < found["loss"][0]
        assert "kept 10 of 12 nodes" in done.stdout
        assert "round 1" in done.stdout
    finally:
        assert end_all(home)  # the SuperLink that `flwr run` leaves behind, and nobody else's


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")  # Ray's open files
def test_on_the_engines_own_grid_replies_are_taken_as_they_come(caplog):
    """No wrapper between strategy and engine, the strategy collects by push and pull."""
    from flwr.serverapp import Grid, ServerApp
    from flwr.simulation import run_simulation

    from flwr_byzantine import FedMedian

    app, found = ServerApp(), []

    @app.main()
    def main(grid, context):
        assert isinstance(grid, Grid)
        strategy = FedMedian(min_train_nodes=6, min_available_nodes=6)
        found.append((strategy.start(grid, start(), 3), strategy.reports))

    caplog.set_level(logging.ERROR, logger="flwr")
    backend = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 2, "log_to_driver": False}}
    run_simulation(app, client_app(), 6, backend_config=backend)
    ((result, reports),) = found
    assert [report.n_valid for report in reports] == [6, 6, 6]
    assert abs(values(result.arrays)[:-1] - 0.875 * GOAL[:-1]).max() < 0.1
    assert len(result.evaluate_metrics_clientapp) == 3


SHARED = ROOT.parent / "shared" / "data"


@pytest.mark.skipif(not (SHARED / "FashionMNIST").exists(), reason="needs Fashion-MNIST beside the checkout")
def test_fashion_mnist_from_a_read_only_data_root():
    task = Task(dataset="fashion-mnist", data_root=str(SHARED), num_clients=10)
    data = load(task)
    assert data.train_x.shape == (60_000, 784)
    assert data.test_x.shape == (10_000, 784)
    assert sum(map(len, partitions(task))) == 60_000
    assert not list(SHARED.rglob("*ubyte"))


def test_missing_data_is_one_clear_sentence(tmp_path):
    with pytest.raises(InvalidParameter, match=r"holds no Fashion-MNIST in torchvision's layout .*; leave it empty to download"):
        load(Task(dataset="fashion-mnist", data_root=str(tmp_path)))
