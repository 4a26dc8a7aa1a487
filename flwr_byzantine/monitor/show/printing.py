"""How a table is printed: in boxes on a terminal, field under field on a narrow one, as aligned lines into a pipe or a file.

No name is cut: a column gets the width of its longest word at least, and the first one, which names the row, all that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table as RichTable
from rich.text import Text

from flwr_byzantine.monitor.show.terminal import say, words

if TYPE_CHECKING:
    from rich.console import Console

    from flwr_byzantine.monitor.show.table import Field, Table

READABLE = (18, 12)  # characters that a column of sentences gets at least, where there is room or little of it
FRAME = 3  # characters that each column's border and padding take, and one more for the table
NOTHING = "-"  # what an empty field is in a line, so that fields can be counted


def show(table: Table, console: Console, small: bool = True) -> None:
    """Print a table in the form that suits the console.

    Args:
        table: to print.
        console: to print on.
        small: whether the smaller texts are shown.
    """
    if not console.is_terminal:
        for line in lines(table):
            say(console, line)
        return
    say(console, table.title, "italic")
    widths = fitted(table, console.width, small)
    for view in records(table, small) if widths is None else (boxed(table, widths, small),):
        console.print(view)
    for note in table.notes:
        say(console, note, "italic")


def fits(table: Table, console: Console, small: bool = True) -> bool:
    """Whether each row of the table has room in a line of the console."""
    return not console.is_terminal or sum(wanted(table, small)) + FRAME * len(table.header) + 1 <= console.width


def lines(table: Table) -> Iterator[str]:
    r"""Title, header, rows and notes as a line each; columns are aligned, with two spaces between them at least.

    Example:
        >>> from flwr_byzantine.monitor.show.table import Table
        >>> print(*lines(Table.of("Primes", ("n", "prime"), [["1", ""], ["11", "yes"]], right=[0])), sep="\n")
        Primes
         n  prime
         1  -
        11  yes
    """
    rows = [table.header, *([item.full or NOTHING for item in row] for row in table.rows)]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    yield table.title
    for row in rows:
        yield "  ".join(map(_padded, row, widths, table.numeric)).rstrip()
    yield from table.notes


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def fitted(table: Table, room: int, small: bool = True) -> list[int] | None:
    """The widths of the columns of a table that is `room` characters wide; None where they do not suffice for its words."""
    columns, room = _columns(table, small), room - 1 - FRAME * len(table.header)
    for readable in READABLE:
        least = [max(_longest([name]), _least(column, readable)) for name, column in zip(table.header, columns, strict=True)]
        least[0] = wanted(table, small)[0]
        if sum(least) <= room:
            return _grown(least, wanted(table, small), room)
    return None


def _grown(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """The widths with what is left of the room, in proportion to what each lacks."""
    lack = [want - width for want, width in zip(most, least, strict=True)]
    share = min(1.0, (room - sum(least)) / max(1, sum(lack)))
    return [width + int(share * more) for width, more in zip(least, lack, strict=True)]


def wanted(table: Table, small: bool = True) -> list[int]:
    """The widths at which no column is broken."""
    return [max(map(cell_len, [name, *column])) for name, column in zip(table.header, _columns(table, small), strict=True)]


def _columns(table: Table, small: bool) -> list[list[str]]:
    return [[_text(row[i], small) for row in table.rows] for i in range(len(table.header))]


def _least(texts: Sequence[str], readable: int) -> int:
    return min(max(map(cell_len, texts), default=0), max(readable, _longest(texts)))


def _longest(texts: Sequence[str]) -> int:
    return max((cell_len(word) for text in texts for word in text.split()), default=0)


def _text(item: Field, small: bool) -> str:
    return item.full if small else item.text


def boxed(table: Table, widths: Sequence[int], small: bool) -> RichTable:
    """The table in a frame, with columns of these widths."""
    view = RichTable()
    for name, numeric, width in zip(table.header, table.numeric, widths, strict=True):
        view.add_column(words(name), justify="right" if numeric else "left", overflow="fold", width=width)
    for index, row in enumerate(table.rows):
        view.add_row(*(words(_text(item, small), "bold" if item.best else "") for item in row), end_section=index in table.ends)
    return view


def records(table: Table, small: bool) -> Iterator[RichTable | Text]:
    """For each row its name, and below it the other fields beside the names of their columns."""
    for name, *rest in table.rows:
        yield words(_text(name, small), "bold")
        view = RichTable.grid(padding=(0, 1))
        view.add_column(overflow="fold", style="dim")
        view.add_column(overflow="fold")
        for head, item in zip(table.header[1:], rest, strict=True):
            if item.full:
                view.add_row(Text("  ") + words(head), words(_text(item, small), "bold" if item.best else ""))
        yield view
