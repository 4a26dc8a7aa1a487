"""A sweep's cells and their keys."""

import os
import subprocess
import sys

from flwr_byzantine.experiments import defaults
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.results import read as read_results
from flwr_byzantine.experiments.sweep import read
from flwr_byzantine.experiments.sweep.cell import Cell
from flwr_byzantine.experiments.sweep.keys import CELL, shown
from tests.support.sweeps import (
    ROOT,
    TINY,
    write,
)


def test_the_grid_is_the_product_without_what_is_excluded(tmp_path):
    text = TINY + "\n[[exclude]]\nstrategy = ['krum', 'fedavg']\nattack = 'alie'\n"
    cells = read(write(tmp_path, text)).cells
    pairs = {(cell.config["strategy"], cell.config["attack"]) for cell in cells}
    assert len(cells) == len(pairs) == 7
    assert pairs.isdisjoint({("krum", "alie"), ("fedavg", "alie")})


def test_a_list_is_excluded_by_itself_or_as_one_of_several(tmp_path):
    grid = "[grid]\nhidden = [[8], [16], [16, 8]]\n[[exclude]]\nhidden = "
    for excluded, left in (("[16, 8]", [[8], [16]]), ("[[16], [8]]", [[16, 8]])):
        assert [cell.config["hidden"] for cell in read(write(tmp_path, grid + excluded)).cells] == left


def test_f_follows_num_malicious_unless_given(tmp_path):
    text = "[task]\nnum-clients = 12\n[grid]\nstrategy = ['krum']\nnum-malicious = [1, 2]\n"
    assert [cell.config["f"] for cell in read(write(tmp_path, text)).cells] == [1, 2]
    assert [cell.config["f"] for cell in read(write(tmp_path, text + "f = [3]\n")).cells] == [3, 3]


def test_keys_that_do_not_matter_make_no_cells(tmp_path):
    text = "[grid]\npartition = ['iid', 'dirichlet', 'gamma']\nalpha = [0.1, 0.5]\ngamma = [0.0, 1.0]\n"
    found = [(cell.config["partition"], cell.config["alpha"], cell.config["gamma"]) for cell in read(write(tmp_path, text)).cells]
    expected = [("iid", 0.0, 0.0), ("dirichlet", 0.1, 0.0), ("dirichlet", 0.5, 0.0), ("gamma", 0.0, 0.0), ("gamma", 0.0, 1.0)]
    assert sorted(found) == sorted(expected)


SAME = [
    "[task]\nlr = 0.5\nseed = 3\n[grid]\nattack = ['alie']\nstrategy = ['krum']\nnum-malicious = [2]",
    "[grid]\nnum_malicious = [2]\nstrategy = ['krum']\nattack = [{name = 'ALIE'}]\n[task]\nseed = 3\nlr = 0.5",
    "[sweep]\nprocesses = 7\nname = 'other'\nrounds = 20\nevaluate-every = 1\nengine = 'batched'\n"
    "[task]\ndata-root = 'x'\nlr = 0.5\nseed = 3\nattack = 'alie'\n"
    "strategy = 'Krum'\nnum-malicious = 2\nf = 2\nhidden = [64]\nvalidation = 0.1",
]


def test_the_key_depends_on_the_configuration_only(tmp_path):
    keys = {read(write(tmp_path, text)).cells[0].key for text in SAME}
    assert len(keys) == 1
    others = [SAME[0].replace("lr = 0.5", "lr = 0.25"), SAME[0].replace("seed = 3", "seed = 4"), SAME[0].replace("krum", "median")]
    assert len(keys | {read(write(tmp_path, text)).cells[0].key for text in others}) == 4


def test_the_key_is_the_same_in_every_process(tmp_path):
    path = write(tmp_path, SAME[0])
    code = f"from flwr_byzantine.experiments.sweep import read; print(read({str(path)!r}).cells[0].key)"
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == read(path).cells[0].key


def test_configuration_holds_no_paths_and_all_keys_of_the_schema(tmp_path):
    config = read(write(tmp_path, SAME[2])).cells[0].config
    assert "data_root" not in config
    assert set(config) >= {
        *("dataset", "model", "partition", "alpha", "gamma", "num_clients", "method", "optimizer", "local_epochs", "batch_size"),
        *("lr", "momentum", "weight_decay", "strategy", "strategy_options", "attack", "attack_options", "f", "num_malicious"),
        *("rounds", "seed", "engine", "evaluate_every"),
    }


def test_the_page_on_sweeps_names_every_key_and_the_example_is_one(tmp_path):
    page = (ROOT / "simulations" / "sweeps" / "README.md").read_text(encoding="utf-8").split("## An app")[0]
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name.strip(" `") for row in rows for name in row.split(",")}
    assert named == {shown(key) for key in CELL} | {"data-root", "[app]", "[sweep]", "[task]", "[grid]", "[[exclude]]", "[choose]"}
    example = read(ROOT / "simulations" / "sweeps" / "digits.toml")
    assert (len(example.cells), example.choose) == (30, ("lr",))


def test_a_key_that_came_later_changes_nothing_where_it_has_its_default(monkeypatch):
    monkeypatch.setitem(defaults.DEFAULTS, "later", "off")
    monkeypatch.setitem(defaults.LATER, "later", "off")
    before, off, on = (Cell.of({"lr": 0.5, "engine": "local", **given}) for given in ({}, {"later": "off"}, {"later": "on"}))
    assert before.key == off.key != on.key
    assert off.config["later"] == "off"
    assert before.key == "01f9e2e1275cb548f331e6a26b24aa5130fa39d00c442a1bb2cf97e053febba4"
    lines = [Result(cell.config, cell.key).to_json() for cell in (off, on)]
    assert ["later" in line["config"] for line in lines] == [False, True]
    assert [Result.of(line).config["later"] for line in lines] == ["off", "on"]


def test_committed_results_have_the_keys_of_their_configurations():
    files = [*(ROOT / "simulations" / "reproductions" / "results").glob("*.jsonl"), ROOT / "simulations" / "adaptive" / "results.jsonl"]
    found = [result for file in files for result in read_results(file)]
    assert len(found) > 100
    assert all(Cell(result.config).key == result.key for result in found)
