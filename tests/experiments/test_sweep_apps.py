"""Sweeps over an app: the table [app], mistakes in it and in the app, keys, results."""

import os
import shutil

import pytest

from flwr_byzantine import InvalidParameter
from flwr_byzantine.experiments.apps.trial import Case, problem
from flwr_byzantine.experiments.report import worst_case
from flwr_byzantine.experiments.sweep import app_table, read, run
from flwr_byzantine.experiments.sweep.store import Store
from tests.support.app_functions import BAD_EVALUATE, BAD_INITIAL
from tests.support.app_mistakes import APP, BAD_APPS, BAD_FILES, BAD_PROJECTS
from tests.support.apps import CLIENT, app, project
from tests.support.sweeps import ROOT, write


@pytest.fixture
def untried(monkeypatch):
    """The app's code is not run when the file is read."""
    monkeypatch.setattr(app_table, "tried", lambda _cases: "")


def sweep(tmp_path, text, **files):
    if not (tmp_path / "mine").exists():
        project(tmp_path / "mine", **files)
    return read(write(tmp_path, APP + text))


@pytest.mark.parametrize("mistake", BAD_FILES)
def test_a_mistake_in_the_file_is_one_sentence(tmp_path, untried, mistake):
    text, wanted = BAD_FILES[mistake]
    project(tmp_path / "mine")
    with pytest.raises(InvalidParameter) as error:
        read(write(tmp_path, text))
    assert wanted in str(error.value).replace("\n", " ")
    assert str(error.value).startswith(f"{tmp_path / 's.toml'}: ")


@pytest.mark.parametrize("mistake", BAD_PROJECTS)
def test_a_mistake_in_the_pyproject_is_one_sentence(tmp_path, mistake):
    text, wanted = BAD_PROJECTS[mistake]
    with pytest.raises(InvalidParameter) as error:
        sweep(tmp_path, "", pyproject=text)
    assert wanted in str(error.value)


@pytest.mark.parametrize("mistake", BAD_APPS)
def test_a_mistake_in_the_app_is_one_sentence(tmp_path, mistake):
    files, about, wanted = BAD_APPS[mistake]
    assert wanted in problem([Case(app(project(tmp_path, **files), **about), 3, 0)])


@pytest.mark.parametrize("text", BAD_INITIAL)
def test_a_first_model_that_is_none_is_one_sentence(tmp_path, text):
    said = problem([Case(app(project(tmp_path, mine=f"import numpy as np\n{text}"), initial="pull.mine:It"), 3, 0)])
    assert said.startswith(f"initial = 'pull.mine:It' {BAD_INITIAL[text]}")
    assert "\n" not in said


@pytest.mark.parametrize("text", BAD_EVALUATE)
def test_an_evaluation_that_is_none_is_one_sentence(tmp_path, text):
    said = problem([Case(app(project(tmp_path, mine=f"import numpy as np\n{text}"), evaluate="pull.mine:judge"), 3, 0)])
    assert said.startswith("evaluate = 'pull.mine:judge' ")
    assert BAD_EVALUATE[text] in said
    assert "\n" not in said


@pytest.mark.parametrize("value", ["np.array([0.5])", "np.float16(0.5)", "torch.tensor(0.5)", "1.0000001", "True", "0"])
def test_an_accuracy_may_be_an_array_of_one_value(tmp_path, value):
    text = f"import numpy as np\nimport torch\ndef judge(arrays): return {{'accuracy': {value}, 'loss': float('inf')}}"
    assert problem([Case(app(project(tmp_path, mine=text), evaluate="pull.mine:judge", loss="loss"), 3, 0)]) == ""


def test_a_loss_that_is_named_must_be_found(tmp_path):
    text = "def judge(arrays): return {'accuracy': 0.5, 'loss': float('nan')}"
    files = project(tmp_path, mine=text)
    assert problem([Case(app(files, evaluate="pull.mine:judge"), 3, 0)]) == ""
    assert "finds no loss of the first model" in problem([Case(app(files, evaluate="pull.mine:judge", loss="loss"), 3, 0)])


def test_a_client_without_examples_to_evaluate_is_not_asked_alone(tmp_path):
    client = CLIENT.replace("1 + partition,", "partition,").replace("quality(w)", "quality(w) if partition else float('nan')")
    found = app(project(tmp_path, client_app=client))
    assert problem([Case(found, 3, 0)]) == ""
    assert problem([Case(found, 1, 0)]) == "its clients' evaluation finds no accuracy of the first model: it is NaN; mend it"


def test_what_is_tried_is_each_run_config(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(app_table, "tried", lambda cases: seen.extend(cases) or "not so")
    with pytest.raises(InvalidParameter, match="not so"):
        sweep(tmp_path, "[grid]\napp.rate = [0.1, 0.2]\nseed = [1, 2]")
    assert [case.app.config for case in seen] == [{"rate": rate, "model.start": 0.0} for rate in (0.1, 0.2)]


def test_cells_hold_the_run_config_and_keep_their_keys_elsewhere(tmp_path, untried):
    text = '[app.config]\nmodel.start = 1\n[grid]\n"app.rate" = [1, 0.5]\n'
    cells = sweep(tmp_path, text).cells
    assert [cell.config["app_rate"] for cell in cells] == [1.0, 0.5]
    assert cells[0].configured().config == {"rate": 1.0, "model.start": 1.0}
    assert not {"lr", "dataset", "model", "partition"} & set(cells[0].config)
    there = tmp_path / "there"
    there.mkdir()
    shutil.copytree(tmp_path / "mine", there / "mine")
    assert [cell.key for cell in sweep(there, text).cells] == [cell.key for cell in cells]
    (there / "mine" / "pull" / "task.py").write_text("# other")
    assert {cell.key for cell in sweep(there, text).cells}.isdisjoint(cell.key for cell in cells)


def test_cells_may_be_left_out_by_the_run_config(tmp_path, untried):
    text = "[grid]\napp.rate = [0.1, 0.5]\nseed = [0, 1]\n[[exclude]]\napp.rate = 0.5\nseed = 1\n"
    assert [(cell.config["app_rate"], cell.config["seed"]) for cell in sweep(tmp_path, text).cells] == [(0.1, 0), (0.5, 0), (0.1, 1)]


def test_a_folder_is_named_as_seen_from_the_file_or_from_here(tmp_path, untried, monkeypatch):
    project(tmp_path / "mine")
    (tmp_path / "sweeps").mkdir()
    for path in ("../mine", str(tmp_path / "mine")):
        assert read(write(tmp_path / "sweeps", f'[app]\npath = "{path}"')).cells
    monkeypatch.chdir(tmp_path)
    assert read(write(tmp_path / "sweeps", APP)).cells


def test_a_machine_with_another_version_of_the_app_says_so(tmp_path, untried):
    (cell,) = sweep(tmp_path, "").cells
    assert cell.lacking("") == ""
    (tmp_path / "mine" / "pull" / "task.py").write_text("# other")
    assert "holds other Python files here" in cell.lacking("")
    shutil.rmtree(tmp_path / "mine")
    assert "is no folder" in cell.lacking("")


@pytest.mark.slow
def test_the_example_runs_is_resumed_and_is_reported(tmp_path):
    text = (ROOT / "simulations" / "sweeps" / "app.toml").read_text()
    text = text.replace("../quickstarts", os.fspath(ROOT / "simulations" / "quickstarts")).replace("[0.5, 1.0]", "[1.0]")
    text = text.replace('"krum", "trimmed-mean", ', "").replace("rounds = 5", "rounds = 3")
    found, path = read(write(tmp_path, text)), tmp_path / "r.jsonl"
    summary = run(found, path)
    assert (summary.finished, summary.failed) == (6, [])
    assert run(found, path).skipped == 6
    results = list(Store(path).read().values())
    assert {cell.config["app"] for cell in results} == {"quickstart-numpy"}
    (table,) = worst_case(results)
    assert table.row("fedavg").worst.mean < 0.2 < 0.8 < table.row("nnm+trimmed-mean").worst.mean


@pytest.mark.slow
def test_the_engines_give_the_same_results(tmp_path):
    text = "[sweep]\nrounds = 2\n[task]\nnum-clients = 4\nnum-malicious = 1\nattack = 'sign-flip'\n[grid]\nengine = ['local', 'ray']\n"
    found = sweep(tmp_path, text)
    run(found, tmp_path / "r.jsonl")
    local, ray = Store(tmp_path / "r.jsonl").read().values()
    assert local.status == ray.status == "ok"
    assert local.history == ray.history
