"""The command `flwr-byzantine`: a module for each group of commands, which are listed here."""

from __future__ import annotations

import sys

import typer

from flwr_byzantine.cli.listing import attacks, cite, rules
from flwr_byzantine.cli.measuring import bench
from flwr_byzantine.cli.planning import plan
from flwr_byzantine.cli.sweeping import report, sweep
from flwr_byzantine.cli.trying import audit, demo
from flwr_byzantine.errors import ByzantineError
from flwr_byzantine.show.terminal import fail, never_fail_to_encode

SIMULATION = "this command needs the simulation extras ({error}): pip install 'flwr-byzantine[simulation]'"
COMMANDS = (demo, rules, attacks, cite, plan, audit, sweep, report, bench)

app = typer.Typer(help="Byzantine-resilient aggregation for Flower.", no_args_is_help=True, add_completion=False)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Run the command line; the package's errors are one line and exit status 2."""
    never_fail_to_encode()
    try:
        app()
    except ByzantineError as error:
        fail(f"error: {error}")
        sys.exit(2)
    except ModuleNotFoundError as error:
        fail(SIMULATION.format(error=error))
        sys.exit(2)
