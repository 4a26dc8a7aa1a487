"""One table, shown on a terminal, as Markdown and as CSV."""

import math

from rich.console import Console

from flwr_byzantine.show.table import Field, Table, bold_best, to_csv


def lines(table, width=80):
    console = Console(width=width, record=True)
    console.print(table.console())
    return console.export_text().splitlines()


def test_columns_with_numbers_and_those_named_are_aligned_to_the_right():
    rows = ((Field("a"), Field("1.0", number=1.0), Field("x"), Field("2")), (Field("b"), Field("–"), Field("y"), Field("3")))
    table = Table("T", ("one", "two", "three", "four"), rows, right=[3])
    assert table.numeric == (False, True, False, True)
    assert table.markdown().splitlines()[3] == "| --- | ---: | --- | ---: |"


def test_markdown_escapes_strokes_marks_the_best_and_ends_with_the_notes():
    table = Table("T", ("a|b",), ((Field("x", "± 1", best=True),),), notes=("Why.",))
    assert table.markdown() == "### T\n\n| a\\|b |\n| --- |\n| **x ± 1** |\n\nWhy.\n"


def test_the_terminal_shows_marks_of_rich_as_text_and_draws_a_line_after_the_rows_named():
    found = lines(Table.of("[bold]T", ["[red]name"], [["[i]a"], ["b"], ["c"]], ends=[0]))
    text = "\n".join(found)
    assert all(part in text for part in ("[bold]T", "[red]name", "[i]a"))
    first = next(index for index, line in enumerate(found) if "[i]a" in line)
    assert found[first + 1].startswith("├")
    assert "c" in found[first + 3]


def test_equal_texts_are_best_together_and_what_has_no_number_never_is():
    rows = [[Field("0.5", number=0.5)], [Field("0.5", number=0.499)], [Field("0.9")], [Field("0.1", number=0.1)]]
    assert [row[0].best for row in bold_best(rows, [True])] == [True, True, False, False]
    assert [row[0].best for row in bold_best(rows, [False])] == [False, False, False, True]
    assert not any(row[0].best for row in bold_best(rows, [None]))


def test_csv_leaves_nan_empty_and_quotes():
    assert to_csv(["a", "b"], [[1.5, math.nan], ["x, y", None]]) == 'a,b\n1.5,\n"x, y",\n'
