"""The command `flwr-byzantine`: a module for each group of commands, which are listed here."""

from __future__ import annotations

import flwr_byzantine.declare.quiet  # noqa: F401  before typer

# isort: split
import sys
from typing import Annotated

import typer

from flwr_byzantine.declare.extras import missing
from flwr_byzantine.errors import ByzantineError
from flwr_byzantine.experiments.cli.listing import attacks, cite, rules
from flwr_byzantine.experiments.cli.measuring import bench
from flwr_byzantine.experiments.cli.planning import plan
from flwr_byzantine.experiments.cli.seeing import leaderboard, report, watch
from flwr_byzantine.experiments.cli.sweeping import sweep
from flwr_byzantine.experiments.cli.terminal import console
from flwr_byzantine.experiments.cli.trying import audit, demo
from flwr_byzantine.experiments.cli.usage import Commands, Described
from flwr_byzantine.experiments.cli.verifying import verify
from flwr_byzantine.monitor.show.terminal import fail, never_fail_to_encode, say

COMMANDS = (demo, rules, attacks, cite, plan, audit, sweep, report, leaderboard, watch, verify, bench)

app = typer.Typer(
    cls=Commands,
    help="Byzantine-resilient aggregation for Flower.",
    epilog="Exit status: 0; 1 where what was asked about does not hold or failed; 2 for a mistake; 130 after Ctrl-C.",
    no_args_is_help=True,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,  # boxes are for terminals
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command(cls=Described)(command)


def _version(asked: bool) -> None:
    if asked:
        from flwr_byzantine import __version__

        say(console, f"flwr-byzantine {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Take the options that go before a command."""


def main() -> None:
    """Run the command line; the package's errors are one line and exit status 2."""
    never_fail_to_encode()
    try:
        app()
    except ByzantineError as error:
        fail(f"error: {error}")
        sys.exit(2)
    except ModuleNotFoundError as error:
        fail(f"error: {missing('this command', error)}")
        sys.exit(2)
