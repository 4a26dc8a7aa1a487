"""docs/cli.md names every argument and option of every command, with what it does and its default."""

from pathlib import Path

import click
import pytest
from typer.main import get_command

from flwr_byzantine.experiments.cli import app

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
COMMANDS = get_command(app).commands


def row(param):
    """The line of the page that an argument or an option has."""
    names = (*param.opts, *param.secondary_opts) if isinstance(param, click.Option) else [param.name.upper()]
    unsaid = param.default is None or param.default is False or param.default in ("", []) or "Default:" in param.help
    default = "" if unsaid else f" Default: `{param.default}`."
    return f"| {', '.join(f'`{name}`' for name in names)} | {param.help}{default} |"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_has_each_parameter_of_the_command_and_no_other(name):
    section = PAGE.split(f"\n### {name}\n")[1].split("\n#")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert rows == [row(param) for param in COMMANDS[name].params if param.name != "help"]
