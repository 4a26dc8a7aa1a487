"""One table, shown on a terminal, as Markdown and as CSV."""

import io
import math
import re

import pytest
from rich.console import Console

from flwr_byzantine.monitor.show.printing import show
from flwr_byzantine.monitor.show.table import Field, Table, bold_best, to_csv


def printed(table, width=80, terminal=True):
    console = Console(width=width, record=True, force_terminal=terminal, file=io.StringIO())
    show(table, console)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_columns_with_numbers_and_those_named_are_aligned_to_the_right():
    rows = ((Field("a"), Field("1.0", number=1.0), Field("x"), Field("2")), (Field("b"), Field("–"), Field("y"), Field("3")))
    table = Table("T", ("one", "two", "three", "four"), rows, right=[3])
    assert table.numeric == (False, True, False, True)
    assert table.markdown().splitlines()[3] == "| --- | ---: | --- | ---: |"


def test_markdown_escapes_strokes_marks_the_best_and_ends_with_the_notes():
    table = Table("T", ("a|b",), ((Field("x", "± 1", best=True),),), notes=("Why.",))
    assert table.markdown() == "### T\n\n| a\\|b |\n| --- |\n| **x ± 1** |\n\nWhy.\n"


def test_the_terminal_shows_marks_of_rich_as_text_and_draws_a_line_after_the_rows_named():
    found = printed(Table.of("[bold]T", ["[red]name"], [["[i]a"], ["b"], ["c"]], ends=[0]))
    text = "\n".join(found)
    assert all(part in text for part in ("[bold]T", "[red]name", "[i]a"))
    first = next(index for index, line in enumerate(found) if "[i]a" in line)
    assert found[first + 1].startswith("├")
    assert "c" in found[first + 3]


NAMES = ("DistributedBackdoor", "nnm+geometric-median", "MultiKrum(f=2,", "FoolsGold")
SENTENCE = "Sends what nobody expects, again and again, until the run is over or the server says why not."


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_no_word_is_cut_at_any_width(width, columns):
    rows = [[name, *[SENTENCE] * columns, "Papailiopoulos, NeurIPS 2020"] for name in NAMES]
    found = printed(Table.of("T", ("name", *["what it sends"] * columns, "reference"), rows), width)
    assert all(len(line) <= width for line in found)
    assert all(sum(name in line for line in found) == 1 for name in NAMES)
    assert {"Papailiopoulos,", "nobody", "expects,"} <= {word for line in found for word in line.split()}


def test_the_first_column_is_never_broken_at_spaces_either():
    found = printed(Table.of("T", ("name", "what it sends"), [["NNM(f=10) + MultiKrum(f=10, m=5)", SENTENCE]]), 80)
    assert sum("NNM(f=10) + MultiKrum(f=10, m=5)" in line for line in found) == 1


def test_a_pipe_gets_a_line_for_each_row_whatever_its_width_and_no_field_is_empty():
    table = Table(
        "T", ("name", "n", "what"), ((Field("a"), Field("1", number=1.0), Field(SENTENCE * 9)), (Field("b"), Field(""), Field("x")))
    )
    found = printed(table, 40, terminal=False)
    assert [re.split(" {2,}", line.strip()) for line in found] == [["T"], ["name", "n", "what"], ["a", "1", SENTENCE * 9], ["b", "-", "x"]]


def test_equal_texts_are_best_together_and_what_has_no_number_never_is():
    rows = [[Field("0.5", number=0.5)], [Field("0.5", number=0.499)], [Field("0.9")], [Field("0.1", number=0.1)]]
    assert [row[0].best for row in bold_best(rows, [True])] == [True, True, False, False]
    assert [row[0].best for row in bold_best(rows, [False])] == [False, False, False, True]
    assert not any(row[0].best for row in bold_best(rows, [None]))


def test_csv_leaves_nan_empty_and_quotes():
    assert to_csv(["a", "b"], [[1.5, math.nan], ["x, y", None]]) == 'a,b\n1.5,\n"x, y",\n'
