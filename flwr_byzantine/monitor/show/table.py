"""A table as data, in Markdown and as CSV; `printing` shows the same on a terminal, the report's page as HTML.

Names, errors and titles may be anybody's: each is escaped to one line when the table is made, and no form takes a mark in it
for its own.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from flwr_byzantine.flower.words import escaped


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

    def __post_init__(self) -> None:
        """Bring the texts to one line each."""
        for name in ("text", "small", "note"):
            object.__setattr__(self, name, escaped(getattr(self, name)))

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
        apart: numbers of the columns that a page sets apart from the others.

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
    apart: Collection[int] = ()

    def __post_init__(self) -> None:
        """Bring title, header and notes to one line each."""
        object.__setattr__(self, "title", escaped(self.title))
        for name in ("header", "notes"):
            object.__setattr__(self, name, tuple(map(escaped, getattr(self, name))))

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

    def without_empty(self) -> Table:
        """The same without the columns in which no row says anything: all "–", or nothing.

        Example:
            >>> Table.of("", ("a", "b", "c"), [["1", "–", "2"]], right=[2]).without_empty().header
            ('a', 'c')
        """
        says = [any(row[i].full not in ("", "–") for row in self.rows) or not self.rows for i in range(len(self.header))]
        kept = [i for i, something in enumerate(says) if something]
        header, rows = tuple(self.header[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in self.rows)
        right, apart = ([kept.index(i) for i in numbers if i in kept] for numbers in (self.right, self.apart))
        return replace(self, header=header, rows=rows, right=right, apart=apart)

    def markdown(self) -> str:
        """As a Markdown table under its title."""
        marks = ["---:" if numeric else "---" for numeric in self.numeric]
        fields = [[(_plain(item.full), item.best) for item in row] for row in self.rows]
        lines = [_line(map(_plain, self.header)), _line(marks)]
        lines += [_line(f"**{text}**" if best else text for text, best in row) for row in fields]
        return "\n".join([f"### {_plain(self.title)}", "", *lines, "", *(f"{_plain(note)}\n" for note in self.notes)])


def _line(texts: Iterable[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _plain(text: str) -> str:
    """The text in Markdown, where nothing in it is a mark or HTML."""
    return re.sub(r"[\\`*\[\]<>|&~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


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
