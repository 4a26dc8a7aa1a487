"""The committed study of detection: results that are the configurations', pages that say what they give."""

import pytest

from flwr_byzantine.experiments.report.settings import load
from flwr_byzantine.experiments.sweep import config
from flwr_byzantine.experiments.sweep.kinds import Tasks
from simulations.detection import page as detection


@pytest.mark.parametrize("name", detection.SWEEPS)
def test_results_are_those_of_the_configuration(name, monkeypatch):
    monkeypatch.setattr(Tasks, "check", lambda *_: None)  # the data need not be here
    found = {cell.key: cell.config for cell in load(detection.HERE / f"{name}.jsonl")}
    assert found == {cell.key: cell.config for cell in config.read(detection.HERE / f"{name}.toml").cells}


def test_the_page_says_what_the_results_give():
    text = detection.PAGE.read_text(encoding="utf-8")
    assert detection.filled(text, detection.texts()) == text


def test_the_loud_are_found():
    found = detection.cells("mnist")
    for attack in detection.LOUD:
        rule, precision, recall = detection.best(found, attack)
        assert min(precision, recall) >= detection.GOOD, (attack, rule)
