"""Flower projects in experiments: what their clients get, what they begin with, and what is measured of them."""

import numpy as np
import pytest

from flwr_byzantine import attacks
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.apps.client import AppClient
from flwr_byzantine.experiments.apps.federation import federate_app
from flwr_byzantine.experiments.apps.first import first
from flwr_byzantine.experiments.sweep.app_cell import AppCell
from flwr_byzantine.experiments.sweep.cell import versions
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.rules import Krum
from tests.support.apps import CLIENT, SERVER, app, project
from tests.support.legacy_apps import LEGACY_CLIENT, LEGACY_SERVER

THREE = Task(num_clients=3)


def federation(found, task=THREE, rule=None, attack=None, rounds=2, engine="local"):
    return federate_app(found, task, rule, attack, rounds, engine, 1)


def model(found, num_clients=3):
    told = first(AppClient(found, seed=0), num_clients)
    return [array.tolist() for array in told.arrays.to_numpy_ndarrays()], dict(told.config)


def test_clients_train_from_the_servers_model_by_the_apps_run_config(tmp_path):
    """Clients at 1, 2, 3: with rate 1 the first round's mean is 2, where the quality is 1."""
    folder = project(tmp_path)
    assert federation(app(folder, {"rate": 1.0})).accuracy == [1 / 3, 1.0, 1.0]
    half = federation(app(folder))
    assert half.accuracy == [1 / 3, 0.5, 2 / 3]
    assert half.loss[0] == pytest.approx((0 * 1 + 1 * 2 + 2 * 3) / 6)  # partition k has k + 1 examples


def test_the_first_model_and_the_settings_are_those_of_the_servers_first_message(tmp_path):
    assert model(app(project(tmp_path), {"model.start": 5.0})) == ([[5.0, 5.0]], {"told": 7})


def test_a_server_that_waits_for_more_nodes_than_there_are_is_not_waited_for(tmp_path):
    server = SERVER.replace("FedAvg()", "FedAvg(min_available_nodes=5)")
    assert model(app(project(tmp_path, server_app=server)))[0] == [[0.0, 0.0]]


def test_records_are_called_in_messages_as_the_server_calls_them(tmp_path):
    server = SERVER.replace("FedAvg()", 'FedAvg(arrayrecord_key="model", configrecord_key="settings")')
    client = CLIENT.replace('content["arrays"]', 'content["model"]').replace('{"arrays"', '{"model"')
    client = client.replace('print("noise")', 'assert message.content["settings"]["told"] == 7')
    found = app(project(tmp_path, server_app=server, client_app=client), {"rate": 1.0})
    assert federation(found, rule=Krum(0)).accuracy[-1] == 0.5  # Krum takes one of 1, 2, 3: an end of the three, by ties


MAKERS = {
    "a class of modules": ("import torch\nclass It(torch.nn.Linear):\n    def __init__(self): super().__init__(2, 1, bias=False)", None),
    "a function of the run config": ("def It(config): return [[config['model.start']] * 2]", [[0.0, 0.0]]),
    "a dict": ("import numpy as np\nIt = {'w': np.ones(2)}", [[1.0, 1.0]]),
    "tensors": ("import torch\ndef It(): return {'w': torch.ones(2)}", [[1.0, 1.0]]),
    "Flower's record": ("import numpy as np\nfrom flwr.app import ArrayRecord\ndef It(): return ArrayRecord([np.ones(2)])", [[1.0, 1.0]]),
    "what has get_weights": ("import numpy as np\nclass It:\n    def get_weights(self): return [np.ones(2)]", [[1.0, 1.0]]),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_the_first_model_may_be_named(tmp_path, kind):
    text, wanted = MAKERS[kind]
    found = app(project(tmp_path, mine=text, server_app="raise RuntimeError('not run')"), initial="pull.mine:It", train_config={"told": 8})
    arrays, config = model(found)
    assert config == {"told": 8}
    assert arrays == wanted if wanted else np.shape(arrays[0]) == (1, 2)


def test_a_module_that_draws_its_weights_begins_as_the_seed_says(tmp_path):
    found = app(project(tmp_path, mine=MAKERS["a class of modules"][0]), initial="pull.mine:It")
    drawn = [first(AppClient(found, seed), 3).arrays.to_numpy_ndarrays()[0].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_legacy_clients_learn_what_others_do(tmp_path):
    """A `client_fn`, whose server asks a client for the first model."""
    legacy = app(project(tmp_path / "legacy", client_app=LEGACY_CLIENT, server_app=LEGACY_SERVER))
    modern = app(project(tmp_path / "modern"))
    assert model(legacy) == ([[0.0, 0.0]], {"told": 7})
    for attack in (None, attacks.SignFlip()):
        found, wanted = (federation(one, Task(num_clients=4, num_malicious=1), attack=attack, rounds=3) for one in (legacy, modern))
        assert found == wanted


def test_attackers_are_the_first_partitions_whatever_the_app_sends(tmp_path):
    found, task = app(project(tmp_path)), Task(num_clients=7, num_malicious=2)
    far = attacks.SignFlip(scale=100.0)
    assert federation(found, task, None, far).malicious_kept == [1.0, 1.0]
    assert federation(found, task, Krum(2), far).malicious_kept == [0.0, 0.0]
    assert federation(found, task, Krum(2), attacks.ALIE(z=1.5)).malicious_share[0] in (0.0, 1.0)


def test_a_share_of_the_clients_takes_part(tmp_path):
    history = federation(app(project(tmp_path), {"rate": 1.0}), Task(num_clients=6, clients_per_round=1), rounds=6)
    assert set(history.accuracy[1:]) <= {0.5, 1.0, 1 / 3, 0.25, 0.2}
    assert len(set(history.accuracy[1:])) > 2


def test_an_app_that_draws_from_shared_generators_gives_the_same_results_in_any_process(tmp_path):
    client = CLIENT.replace("1.0 + context", "np.random.rand() + context")
    found = app(project(tmp_path, client_app=client))
    alone, divided = (federate_app(found, THREE, None, None, 2, "local", processes=count) for count in (1, 2))
    assert alone == divided


def test_two_projects_with_modules_of_one_name_do_not_mix(tmp_path):
    apps = [app(project(tmp_path / name, client_app=CLIENT.replace("1.0 +", f"{name} +"))) for name in ("1.0", "5.0")]
    histories = [federation(one) for one in [*apps, *apps]]
    assert histories[:2] == histories[2:]
    assert histories[0] != histories[1]


@pytest.mark.parametrize(
    "function",
    [
        "def judge(arrays, run_config): return {'accuracy': quality(arrays.to_numpy_ndarrays()[0]), 'loss': 0.5}",
        "def judge(arrays): return {'accuracy': quality(arrays.to_numpy_ndarrays()[0]), 'loss': 0.5}",
        "def judge(server_round, arrays): return MetricRecord({'accuracy': quality(arrays.to_numpy_ndarrays()[0]), 'loss': 0.5})",
        "def judge(arrays): return {'val_acc': np.float32(quality(arrays.to_numpy_ndarrays()[0])), 'val_loss': np.array(0.5), 'acc2': 'x'}",
    ],
)
def test_a_central_function_evaluates_in_each_of_the_usual_forms(tmp_path, function):
    text = f"import numpy as np\nfrom flwr.app import MetricRecord\nfrom pull.task import quality\n{function}\n"
    history = federation(app(project(tmp_path, mine=text), evaluate="pull.mine:judge"))
    assert np.allclose([history.accuracy, history.loss], [[1 / 3, 0.5, 2 / 3], [0.5] * 3])


def test_the_metrics_may_be_named(tmp_path):
    text = "def judge(arrays): return {'top1': 0.25, 'top5_acc': 0.5, 'l1_loss': 2.0, 'l2_loss': 3.0}"
    found = app(project(tmp_path, mine=text), evaluate="pull.mine:judge", accuracy="top1", loss="l2_loss")
    history = federation(found, rounds=1)
    assert (history.accuracy, history.loss) == ([0.25, 0.25], [3.0, 3.0])


def test_a_ruined_model_that_cannot_be_evaluated_costs_its_value_not_the_cell(tmp_path):
    text = "def judge(arrays):\n    if arrays.to_numpy_ndarrays()[0][0] > 0.9: raise ValueError('too far')\n    return {'accuracy': 0.5}"
    history = federation(app(project(tmp_path, mine=text), {"rate": 0.4}, evaluate="pull.mine:judge"), rounds=3)
    assert np.array_equal(history.accuracy, [0.5, 0.5, np.nan, np.nan], equal_nan=True)
    assert history.notices == ["2 of the models could not be evaluated: ValueError: too far"]


def test_an_attack_that_looks_at_the_model_asks_the_central_function(tmp_path):
    attack, task = attacks.Adaptive(goal="model"), Task(num_clients=7, num_malicious=2)
    history = federation(app(project(tmp_path), evaluate="pull.task:judged"), task, Krum(2), attack)
    assert len(history.accuracy) == 3


def test_a_changed_source_is_another_app_and_another_folder_is_not(tmp_path):
    here, there = project(tmp_path / "here"), project(tmp_path / "there")
    (there / ".venv").mkdir()
    (there / ".venv" / "other.py").write_text("1")
    (there / "pull" / "task.py").write_bytes((here / "pull" / "task.py").read_bytes().replace(b"\n", b"\r\n"))
    assert app(here).project.sources == app(there).project.sources
    (there / "pull" / "more.py").write_text("1")
    assert app(here).project.sources != app(there).project.sources


def test_versions_are_those_of_installed_packages_that_the_app_names(tmp_path):
    cell = AppCell.over(app(project(tmp_path)), {"attack": ("none", {}), "strategy": ("fedavg", {})})
    assert set(versions(cell.packages())) == {"flwr-byzantine", "flwr", "numpy", "torch", "scikit-learn"}


@pytest.mark.parametrize("strategy", ["fltrust", "zeno+mean"])
def test_a_strategy_that_asks_for_the_servers_data_is_refused_for_an_app(strategy, tmp_path):
    with pytest.raises(InvalidParameter, match="asks for data of the server's own, which an app does not bring"):
        AppCell.over(app(project(tmp_path)), {"attack": ("none", {}), "strategy": (strategy, {}), "num_malicious": 0})
