"""A command that needs an extra says so before it does anything, and names the one that brings all that it needs."""

import importlib.util

import pytest
from typer.testing import CliRunner

from flwr_byzantine.declare import extras
from flwr_byzantine.errors import MissingExtra
from flwr_byzantine.experiments import cli

NEEDED = [(["demo"], "simulation", module) for module in (*extras.ENGINE, "matplotlib")]
NEEDED += [(["sweep", "none.toml"], "simulation", module) for module in extras.ENGINE]
NEEDED += [(["bench", "8x1e4", "--plot", "x.png"], "report", "matplotlib")]


@pytest.mark.parametrize(("command", "extra", "module"), NEEDED, ids=lambda value: value[0] if isinstance(value, list) else value)
def test_a_command_looks_first_for_all_that_it_needs(command, extra, module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = importlib.util.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == module else found(name))
    with pytest.raises(MissingExtra, match=rf" needs {module}, which is not installed; .*'flwr-byzantine\[{extra}\]'$"):
        CliRunner().invoke(cli.app, command, catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []
