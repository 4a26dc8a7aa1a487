"""The command that makes rounds again: `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flwr_byzantine.experiments.cli.terminal import console
from flwr_byzantine.monitor.show.terminal import fail, say


def verify(
    rounds: Annotated[list[Path], typer.Argument(help="Files that a strategy's replies_path= keeps.")],
    reports: Annotated[Path | None, typer.Option(help="The file of report_path=: the rounds must be what it says, too.")] = None,
) -> None:
    """Make the aggregate of kept rounds again, and say whether each was done as its report says; exit status 1 unless all were."""
    from flwr_byzantine.strategy.verifying import verify as again

    differ = False
    for path in rounds:  # each is said before the next one, which may not be there
        found = again(path, reports=reports)
        differ = differ or bool(found.difference)
        (fail if found.difference else lambda text: say(console, text))(str(found))
    if differ:
        raise typer.Exit(1)
