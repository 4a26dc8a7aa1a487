"""The committed study of detection: results that are the configurations', pages that say what they give."""

import pytest

from simulations.detection import page as detection
from tests.support.studies import stored_and_configured


@pytest.mark.parametrize("name", detection.SWEEPS)
def test_results_are_those_of_the_configuration(name, monkeypatch):
    found, expected = stored_and_configured(detection.HERE, name, monkeypatch)
    assert found == expected


def test_the_page_says_what_the_results_give():
    text = detection.PAGE.read_text(encoding="utf-8")
    assert detection.filled(text, detection.texts()) == text


def test_the_loud_are_found():
    found = detection.cells("mnist")
    for attack in detection.LOUD:
        rule, precision, recall = detection.best(found, attack)
        assert min(precision, recall) >= detection.GOOD, (attack, rule)
