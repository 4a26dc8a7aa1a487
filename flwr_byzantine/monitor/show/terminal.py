"""What commands print beside tables: lines, warnings and progress bars that show every word as it is.

Results go to standard output; errors, warnings and progress bars to standard error.
"""

from __future__ import annotations

import io
import sys
from functools import cache
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
    """Print one line, which a terminal's width breaks between words, and a pipe or a file nowhere."""
    console.print(words(text, style), soft_wrap=not console.is_terminal)


def warn(text: object, style: str = "yellow") -> None:
    """Print one line on standard error."""
    say(errors(), text, style)


def fail(text: object) -> None:
    """Print the line of an error on standard error."""
    warn(text, "red")


@cache
def errors() -> Console:
    """The console of standard error, wherever that leads when it is used."""
    from rich.console import Console

    return Console(stderr=True)


def progress(width: int = 0, transient: bool = False) -> Progress:
    """A progress bar over counted steps, on a terminal; its description shows the words as they are where they went through `escaped`.

    Args:
        width: of the description, in characters.
        transient: whether it is gone when it is done.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    description = TextColumn(f"{{task.description:<{width}}}", markup=False)
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    columns = (description, BarColumn(), MofNCompleteColumn(), *times)
    return Progress(*columns, console=errors(), transient=transient, disable=not errors().is_terminal)


def never_fail_to_encode() -> None:
    """Let standard output and errors show what their encoding lacks as an escape: a terminal may know ASCII only."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
