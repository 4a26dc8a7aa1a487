"""The file of reports as it is found: several runs, cut lines, other versions, other files, while it grows and after a restart."""

import json

import pytest

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.monitor.reading import Follower, kind, parse, read
from flwr_byzantine.strategy.report import NodeReport, RoundReport

CELL = json.dumps({"key": "a", "status": "ok", "config": {"strategy": "krum"}})


def line(number, run="a1", **fields):
    return RoundReport(number, 3, 3, 3, 0, "Mean()", True, True, nodes={7: NodeReport("kept")}, run=run, **fields).to_json()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rounds.jsonl"


def test_the_two_kinds_of_file_are_told_apart_by_their_content(path):
    path.write_text(f"{line(1)}\n{line(2)}\n")
    assert kind(path) == "reports"
    path.write_text(f"{CELL}\n")
    assert kind(path) == "results"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty: no round of a run has been reported"),
        ("\n\n", "is empty"),
        (line(1)[:50], "one line that is cut off"),
        (f"{line(1)}\n{CELL}\n", "reports of a run and results of a sweep; keep them in two files"),
        ("a,b\x1b[31m\n1,2\n", r"neither reports .* nor results .*; its first line begins with 'a,b\\\\x1b\[31m'"),
        ('["config"]\n', "neither"),
        ("[" * 200_000, "neither"),
    ],
)
def test_a_file_of_neither_kind_is_refused_in_one_sentence(path, text, said):
    path.write_text(text)
    with pytest.raises(InvalidParameter, match=said) as refused:
        kind(path)
    assert len(str(refused.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_said(path):
    with pytest.raises(InvalidParameter, match=r"cannot read .*No such file"):
        kind(path)


def test_the_last_run_counts_unless_another_is_named(path):
    path.write_text("\n".join([line(1), line(2), line(1, "b2"), line(3), line(1, "b2", note="again")]))
    found = read(path)
    name, reports = found.of()
    assert (name, [report.note for report in reports]) == ("b2", ["again"])
    assert [report.server_round for report in found.of("a")[1]] == [1, 2, 3]
    with pytest.raises(InvalidParameter, match="no run begins with 'c'; the file has a1, b2"):
        found.of("c")


def test_runs_without_an_id_begin_where_rounds_are_counted_anew(path):
    path.write_text("\n".join(line(number, run="") for number in (1, 2, 1, 2, 3)))
    assert [list(rounds) for rounds in read(path).runs.values()] == [[1, 2], [1, 2, 3]]


def test_lines_that_are_cut_off_or_no_reports_are_counted_and_left_out(path):
    path.write_text(f"{line(1)}\n{line(2)[:-9]}\n{line(2)}\nno JSON\n{line(3)[:40]}")
    found = read(path)
    assert [report.server_round for report in found.of()[1]] == [1, 2]
    assert found.lost == 3


@pytest.mark.parametrize(
    "change",
    [
        {"server_round": "1"},
        {"n_valid": None},
        {"nodes": [1]},
        {"nodes": {"7": {"status": 5}}},
        {"nodes": {"7": {"status": "kept", "score": "much"}}},
        {"nodes": {"7": "kept"}},
        {"kappa": "<b>"},
        {"banned": {"7": "x"}},
        {"evaluation": {"clients": {"loss": "low"}}},
        {"certificate": {"holds": True, "sin_alpha": "x", "margin": 0, "kappa": 0, "estimate": None, "assumes": ""}},
    ],
)
def test_a_line_with_a_field_of_another_kind_is_no_report(change):
    assert parse(json.dumps(json.loads(line(1)) | change).encode()) is None
    assert parse(line(1).encode()) is not None


def test_whatever_a_node_is_called_it_is_read_as_words():
    report = parse(json.dumps(json.loads(line(1)) | {"nodes": {"<b>\x1b[2J": {"status": "kept"}, "8": {"status": "odd"}}}).encode())
    assert list(report.nodes) == ["<b>\\x1b[2J", 8]


def test_a_file_is_followed_from_before_it_is_there(path):
    follower = Follower(path)
    assert (follower.look(), follower.there) == ([], False)
    path.write_text(line(1) + "\n" + line(2)[:30])
    assert [report.server_round for report in follower.look()] == [1]
    assert follower.look() == []
    with path.open("a") as file:
        file.write(line(2)[30:] + "\n")
    assert [report.server_round for report in follower.look()] == [2]
    assert follower.again == 0


@pytest.mark.parametrize("how", ["shorter", "same length", "gone meanwhile"])
def test_a_file_that_is_replaced_is_read_anew(path, how):
    follower = Follower(path)
    path.write_text(f"{line(1)}\n{line(2)}\n")
    follower.look()
    if how == "gone meanwhile":
        path.unlink()
        assert follower.look() == []
        assert [*follower.reports.runs["a1"]] == [1, 2]
    path.write_text(f"{line(1, 'b2')}\n" + f"{line(2, 'b2')}\n" * (how != "shorter"))
    assert [report.run for report in follower.look()] == ["b2"] * (1 + (how != "shorter"))
    assert (list(follower.reports.runs), follower.again) == (["b2"], 1)
