"""The committed study of the adaptive attack: results that are the configuration's, a page that says what they give."""

import pytest
from rich.console import Console

from flwr_byzantine import attacks
from flwr_byzantine.attacks.backdoors import TargetedBackdoor
from flwr_byzantine.experiments.report.settings import load
from flwr_byzantine.experiments.sweep import config
from flwr_byzantine.experiments.sweep.command import command
from simulations.adaptive import page


@pytest.fixture(scope="module")
def rows():
    return {row.rule: row for row in page.rows()}


def test_a_dry_run_finds_every_cell_finished(tmp_path):
    with open(tmp_path / "out", "w") as out:
        assert command(page.CONFIG, page.RESULTS, 1, False, True, Console(file=out, width=200)) == 0
    assert "0 to run, 1230 finished, 0 failed before" in (tmp_path / "out").read_text()


def test_results_are_those_of_the_configuration():
    found = {cell.key: cell.config for cell in load(page.RESULTS)}
    assert found == {cell.key: cell.config for cell in config.read(page.CONFIG).cells}


def test_every_attack_on_the_updates_or_the_labels_is_among_the_fixed_ones():
    names = {cell.config["attack"].replace("-", "") for cell in load(page.RESULTS)}
    left_out = {cls.__name__ for cls in attacks.available() if cls.finite and cls.__name__.lower() not in names}
    backdoors = {cls.__name__ for cls in attacks.available() if issubclass(cls, TargetedBackdoor)}  # which are not after accuracy
    assert left_out == backdoors | {"OneCoordinate", "Undetected"}  # newer than the study


def test_the_page_says_what_the_results_give():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text, {"adaptive": page.table()}) == text


def test_the_adaptive_attack_does_at_least_the_damage_of_the_worst_fixed_one_on_every_rule(rows):
    assert len(rows) == 10
    for rule, row in rows.items():
        name, fixed = page.worst_fixed(row)
        assert row.scores[page.GOALS["model"]].mean <= fixed.mean, (rule, name)
