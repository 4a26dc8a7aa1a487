"""The apps as users run them: `flwr run` with Flower's defaults, with many virtual clients, and against a real deployment."""

import json
from pathlib import Path

import pytest

from tests.support.deployment import BIN, Federation, needs_keys
from tests.support.environments import Uv
from tests.support.home import Home
from tests.support.processes import processes_of

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
APP, TEMPLATE = ROOT / "simulations" / "app", ROOT / "simulations" / "template"
MANY = ("--federation-config", "num-supernodes=12 client-resources-num-cpus=1 init-args-num-cpus=2")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """This environment, which has all that the apps need: nothing is installed for a run."""
    home = Home(tmp_path_factory.mktemp("home"), BIN, PYTHONPATH=str(ROOT), FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION="1")
    try:
        home.start()
        yield home
    finally:
        home.end()


def test_in_a_new_environment_one_sentence_and_with_the_library_a_run(tmp_path):
    """With Flower alone, nothing is started; with a clone of the library, by uv, Flower brings the rest, and two nodes learn."""
    place, results = Uv(tmp_path / "env"), tmp_path / "out.json"
    place.install("flwr[simulation]>=1.38")
    home = Home(tmp_path / "home", place.python.parent)
    shown, code = home.flwr_run(APP)
    said = " ".join(line.strip(" │") for line in shown.splitlines())
    assert "this app needs flwr-byzantine beside Flower; install it from a clone of its repository and run the app again: uv" in said
    assert code == 1
    assert processes_of(home.folder) == []
    place.install("--editable", ROOT)
    try:
        home.start()
        shown, _ = home.flwr_run(APP, results=str(results), num_server_rounds=2)
        assert results.exists(), shown[-4000:]
        found = json.loads(results.read_text())
        assert (found["nodes"], found["malicious"]) == (2, 0)
        assert found["accuracy"][2] > found["accuracy"][0] + 0.2
        assert "uv sync took" in shown
        assert "for 20, of which 4 attack: flwr run simulations/app --stream" in shown
    finally:
        home.end()


RUNS = {
    "local-sgd": {"attack": "alie(z=1.5)", "num_server_rounds": 3},
    "byzantine-sgd": {"method": "byzantine-sgd", "lr": 0.5, "worker_momentum": 0.5, "batch_size": 64, "num_server_rounds": 10},
}


@pytest.mark.parametrize("method", RUNS)
def test_many_clients_learn_under_attack(here, tmp_path, method):
    results = tmp_path / "out.json"
    shown, _ = here.flwr_run(APP, *MANY, num_malicious=2, strategy="multi-krum", results=str(results), **RUNS[method])
    assert results.exists(), shown[-4000:]
    found = json.loads(results.read_text())
    assert len(found["accuracy"]) == RUNS[method]["num_server_rounds"] + 1
    assert found["loss"][-1] < found["loss"][0]
    assert "kept 10 of 12 nodes" in shown


def test_the_template_withstands_its_malicious_client(here):
    shown, _ = here.flwr_run(TEMPLATE, *MANY, malicious=True, min_supernodes=12, num_server_rounds=3)
    assert "round 3: NNM(f=2) + TrimmedMean(f=2)" in shown, shown[-3000:]
    accuracy = float(shown.split("Evaluate Metrics")[1].split("'accuracy': '")[3].split("'")[0])
    assert accuracy > 0.5


def test_the_template_says_how_many_nodes_it_takes_to_withstand_one(here):
    shown, _ = here.flwr_run(TEMPLATE, malicious=True)
    assert "of 2 replies a share f = 0.2 is none, so that no malicious one is withstood; take more: flwr run ." in shown


@needs_keys
def test_the_app_runs_unchanged_in_a_deployment(tmp_path):
    with Federation(tmp_path, nodes=5) as federation:
        run = federation.run(APP, **{"num-server-rounds": 2, "wait": 3.0})
        found = run.result(timeout=240)
        assert run.status() == "finished:completed"
        assert (found["nodes"], found["malicious"]) == (5, 1)
        assert found["accuracy"][2] > found["accuracy"][0] + 0.2
        assert "NNM(f=1) + TrimmedMean(f=1)" in run.log
