"""The committed leaderboard: results that are the configurations', a page that says what they give."""

import pytest

from flwr_byzantine.experiments.report import load
from flwr_byzantine.experiments.sweep import cell, config, kinds
from simulations.leaderboard import page


@pytest.fixture(scope="module")
def found():
    return page.found()


@pytest.mark.parametrize("path", page.CONFIGS, ids=lambda path: path.stem)
def test_results_are_those_of_the_configuration(path, monkeypatch):
    monkeypatch.setattr(cell, "missing", lambda _dataset, _root: "")  # MNIST need not be there to read a configuration
    monkeypatch.setattr(kinds, "_check_tasks", lambda _file, _cells, _root: None)
    cells = load(page.results(path))
    assert {each.key: each.config for each in cells} == {each.key: each.config for each in config.read(path).cells}
    assert all(each.ok for each in cells)


def test_the_page_says_what_the_results_give(found):
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text, {"leaderboard": page.markdown(found).strip()}) == text


def test_every_rule_is_ranked_by_three_seeds_of_each_of_three_tasks(found):
    assert (len(found.standings), found.unranked) == (14, {})
    assert {board.name: board.seeds for board in found.boards} == dict.fromkeys(("digits", "mnist", "pydoc"), (0, 1, 2))


def test_the_adaptive_attack_is_among_those_by_most_attackers(found):
    assert all(board.attacks[4][0].startswith("adaptive") for board in found.boards)
