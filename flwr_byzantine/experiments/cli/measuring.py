"""The command `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flwr_byzantine.declare.extras import require
from flwr_byzantine.experiments.cli.terminal import console


def bench(
    sizes: Annotated[list[str] | None, typer.Argument(help="Updates x coordinates, e.g. 32x1e6 100x2e5.")] = None,
    rule: Annotated[list[str] | None, typer.Option(help="Only this rule or chain; may be repeated.")] = None,
    full: Annotated[bool, typer.Option("--full", help="11 to 1000 updates of 1e4 to 1e7 coordinates, as memory allows.")] = False,
    claims: Annotated[bool, typer.Option("--claims", help="Measure the claimed ratios; exit status 1 where one fails.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one contestant gets for one rule.")] = 60.0,
    json: Annotated[Path | None, typer.Option(help="Write everything measured to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file.")] = None,
) -> None:
    """Speed of every rule against the peers found installed and against the machine's limits, in one run."""
    if plot is not None:
        require("bench --plot", "report", "matplotlib")
    from flwr_byzantine.experiments.bench import command

    if not command.run(console, sizes or [], rule or [], full, claims, timeout, json, plot, markdown):
        raise typer.Exit(1)
