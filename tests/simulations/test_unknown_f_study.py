"""The committed study of an unknown f: results that are the configuration's, a page that says what they give."""

import pytest

from simulations.unknown_f import page
from tests.support.studies import stored_and_configured


@pytest.mark.parametrize("name", page.SWEEPS)
def test_results_are_those_of_the_configuration(name, monkeypatch):
    found, expected = stored_and_configured(page.HERE, name, monkeypatch)
    assert found == expected


def test_the_page_says_what_the_results_give():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text, page.texts()) == text


def test_auto_loses_without_attack_and_saves_the_run_under_many():
    cells = page.results()
    assert page.mean_cost(cells) < 0
    rule = "nnm+trimmed-mean"
    auto, few = (page.worst(cells, rule, f, page.MANY) for f in (page.auto(rule), page.FEW))
    assert auto - few > 0.5
