"""What commands print beside tables: lines and progress bars that show every word as it is."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from flwr_byzantine.flower.words import escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text


def words(text: object, style: str = "") -> Text:
    r"""Words for a terminal on one line, in which nothing is a mark of rich's, an emoji or a control character.

    Args:
        text: names of the user's, errors, paths.
        style: of rich's, for all of it.

    Example:
        >>> words("[red]:bug:\x1b[0m").plain
        '[red]:bug:\\x1b[0m'
    """
    from rich.text import Text

    return Text(escaped(text), style)


def say(console: Console, text: object, style: str = "") -> None:
    """Print one line, which is not broken at the terminal's width."""
    console.print(words(text, style), soft_wrap=True)


def progress(console: Console, width: int = 0, transient: bool = False) -> Progress:
    """A progress bar over counted steps; its description shows the words as they are where they went through `escaped`.

    Args:
        console: to draw on.
        width: of the description, in characters.
        transient: whether it is gone when it is done.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    description = TextColumn(f"{{task.description:<{width}}}", markup=False)
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return Progress(description, BarColumn(), MofNCompleteColumn(), *times, console=console, transient=transient)


def never_fail_to_encode() -> None:
    """Let standard output and errors show what their encoding lacks as an escape: a terminal may know ASCII only."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
