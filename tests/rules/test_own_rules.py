"""A rule of one's own by its name, "module:Class"."""

import sys

import numpy as np
import pytest

from flwr_byzantine import InvalidParameter, rules
from flwr_byzantine.experiments.sweep import read
from tests.support.sweeps import write

MODULE = """
from dataclasses import dataclass
import numpy as np
from flwr_byzantine import rules
from flwr_byzantine.declare.params import param
from flwr_byzantine.rules.families import Mixing
from flwr_byzantine.rules.results import mean_of

@dataclass(frozen=True)
class FirstRows(Mixing):
    f: int = param(0, ge=0)
    m: int = param(1, ge=1)
    def min_n(self):
        return self.m
    def mix(self, view):
        return mean_of(range(self.m), view.n, None)

def a_function():
    return rules.Mean()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.delitem(sys.modules, "my_rules", raising=False)
    (tmp_path / "my_rules.py").write_text(MODULE)
    return tmp_path


def test_it_is_made_with_its_options_and_follows_others_in_chains(here):
    X = np.array([[1.0], [2.0], [3.0], [90.0]])
    assert rules.parse("my_rules:FirstRows", f=1, m=2)(X).tolist() == [1.5]
    rule = rules.parse("clipping + my_rules:FirstRows", f=1, radius=2.0, m=4)
    assert rule(X).tolist() == [1.75]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_rules:FirstRow", "my_rules has no 'FirstRow'; did you mean 'FirstRows'"),
        ("no_rules:A", "cannot import 'no_rules'"),
        ("my_rules:a_function", "rule 'my_rules:a_function': expected a class derived from flwr_byzantine.rules.Rule, got <function"),
        ("my_rules:dataclass", "expected a class derived"),
    ],
)
def test_what_is_none_is_one_sentence(here, name, said):
    with pytest.raises(InvalidParameter, match=said):
        rules.parse(name, f=1)


def test_a_sweep_has_it_as_it_is_spelled_and_its_options(here):
    cells = read(write(here, "[grid]\nstrategy = [{name = 'NNM + my_rules:FirstRows', m = 3}, 'Trimmed_Mean']\n")).cells
    assert [cell.config["strategy"] for cell in cells] == ["nnm+my_rules:FirstRows", "trimmed-mean"]
    assert str(cells[0].rule()) == "NNM(f=0) + FirstRows(f=0, m=3)"
