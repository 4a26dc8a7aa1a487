"""The choice of hyper-parameters at the end of a sweep."""

import re

from rich.console import Console

from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep import Store, read
from flwr_byzantine.experiments.sweep.command import choice_table, command
from flwr_byzantine.monitor.show.printing import show
from tests.support.sweeps import TINY, write

CHOICE = """
[sweep]
name = "c"
[task]
num-clients = 9
num-malicious = 1
[grid]
strategy = ["krum", "median"]
attack = ["none", "alie"]
lr = [0.1, 0.2]
seed = [0, 1]
[choose]
keys = ["lr"]
"""
VALIDATION = {  # for krum 0.1 is better without attack, on average and on the test split, 0.2 in the worst case
    ("krum", "none", 0.1): 0.95,
    ("krum", "alie", 0.1): 0.50,
    ("krum", "none", 0.2): 0.60,
    ("krum", "alie", 0.2): 0.55,
    ("median", "none", 0.1): 0.70,
    ("median", "alie", 0.1): 0.65,
    ("median", "none", 0.2): 0.90,
    ("median", "alie", 0.2): 0.20,
}


def test_hyper_parameters_are_chosen_by_the_worst_case_on_the_validation_split(tmp_path):
    sweep, path = read(write(tmp_path, CHOICE)), tmp_path / "r.jsonl"
    with Store(path) as store:
        for cell in sweep.cells:
            config = cell.config
            value = VALIDATION[config["strategy"], config["attack"], config["lr"]] + (0.02 if config["seed"] else -0.02)
            final = {"accuracy": 1.0 - config["lr"], "validation_accuracy": value}
            store.append(Result(config, cell.key, final=final))
        store.append(Result({**config, "lr": 0.3}, "of another sweep", final={"validation_accuracy": 1.0}))
    console = Console(width=120, record=True)
    show(choice_table(sweep, path), console)
    rows = [re.split(" {2,}", line) for line in console.export_text().splitlines()[2:]]
    assert rows[:2] == [
        ["krum", "0.2", "55.0 ± 3.0 %", "the best, but within noise"],
        ["median", "0.1", "65.0 ± 2.9 %", "clearly the best"],
    ]


def test_the_command_shows_the_choice_at_its_end(tmp_path):
    text = TINY + "lr = [0.05, 0.5]\n[choose]\nkeys = ['lr']\n"
    path = write(tmp_path, text.replace('strategy = ["fedavg", "krum", "nnm+trimmed-mean"]', 'strategy = ["krum"]'))
    console = Console(width=120, record=True)
    assert command(path, tmp_path / "r.jsonl", 1, False, False, console) == 0
    said = console.export_text()
    assert "6 cells finished, 0 failed, 0 skipped" in said
    assert "Chosen on the validation split by the worst case over attacks" in " ".join(said.split())
