"""A table as data, and how the terminal, Markdown and CSV show it; the report's page shows the same as HTML."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True)
class Field:
    """One field of a table.

    Attributes:
        text: what it says.
        small: what it says in smaller type after it: a deviation, a published figure.
        best: whether it is the best of its column, shown bold.
        number: what it is sorted by, and what CSV holds; NaN where it has none.
        note: shown when the pointer rests on it.
    """

    text: str
    small: str = ""
    best: bool = False
    number: float = math.nan
    note: str = ""

    @property
    def full(self) -> str:
        """Both texts, one after the other."""
        return f"{self.text} {self.small}".strip()


@dataclass(frozen=True)
class Table:
    """A table ready to be shown.

    Attributes:
        title: above it.
        header: the columns' names.
        rows: fields, as many as columns.
        notes: sentences below it.
        right: numbers of the columns to align to the right; those with a `number` in a field are anyway.
        ends: numbers of the rows that a terminal draws a line after.

    Example:
        >>> print(Table.of("Primes", ("n", "prime"), [["1", "no"], ["2", "yes"]], right=[0]).markdown().strip())
        ### Primes
        <BLANKLINE>
        | n | prime |
        | ---: | --- |
        | 1 | no |
        | 2 | yes |
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Field, ...], ...]
    notes: tuple[str, ...] = ()
    right: Collection[int] = ()
    ends: Collection[int] = ()

    @classmethod
    def of(
        cls, title: str, header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = (), ends: Collection[int] = ()
    ) -> Table:
        """From plain texts."""
        return cls(title, tuple(header), tuple(tuple(map(Field, row)) for row in rows), right=right, ends=ends)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether it holds numbers, and is aligned to the right."""
        return tuple(i in self.right or any(not math.isnan(row[i].number) for row in self.rows) for i in range(len(self.header)))

    def console(self, small: bool = True) -> RichTable:
        """As a rich table; `small` says whether the smaller texts are shown."""
        from rich.markup import escape
        from rich.table import Table as RichTable

        caption = escape("\n".join(self.notes)) or None
        view = RichTable(title=escape(self.title), caption=caption, title_justify="left", caption_justify="left")
        for name, numeric in zip(self.header, self.numeric, strict=True):
            view.add_column(escape(name), justify="right" if numeric else "left", overflow="fold")
        for index, row in enumerate(self.rows):
            texts = [escape(item.full if small else item.text) for item in row]
            marked = (f"[bold]{text}[/bold]" if item.best else text for text, item in zip(texts, row, strict=True))
            view.add_row(*marked, end_section=index in self.ends)
        return view

    def markdown(self) -> str:
        """As a Markdown table under its title."""
        marks = ["---:" if numeric else "---" for numeric in self.numeric]
        lines = [_line(self.header), _line(marks)]
        lines += [_line(f"**{item.full}**" if item.best else item.full for item in row) for row in self.rows]
        return "\n".join([f"### {self.title}", "", *lines, "", *(f"{note}\n" for note in self.notes)])


def _line(texts: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def bold_best(rows: Sequence[Sequence[Field]], largest: Sequence[bool | None]) -> tuple[tuple[Field, ...], ...]:
    """Mark the best of each column, all of those that read the same.

    Args:
        rows: fields; those whose number is NaN do not compete.
        largest: for each column whether the largest is best, or the least; None marks none.
    """
    best = [_best([row[i] for row in rows], want) for i, want in enumerate(largest)]
    return tuple(tuple(replace(item, best=item.text == best[i]) for i, item in enumerate(row)) for row in rows)


def _best(column: Sequence[Field], largest: bool | None) -> str | None:
    competing = [item for item in column if not math.isnan(item.number)]
    if largest is None or not competing:
        return None
    return (max if largest else min)(competing, key=lambda item: item.number).text


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV text; NaN becomes empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if isinstance(item, float) and math.isnan(item) else item for item in row] for row in rows])
    return stream.getvalue()
