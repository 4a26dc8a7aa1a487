"""One reader of result lines: what is there, what is absent, and lines that are none."""

import json
import math

import pytest

from flwr_byzantine import InvalidParameter
from flwr_byzantine.experiments.defaults import completed
from flwr_byzantine.experiments.results import Result, named, parse, read, snake

LINE = {
    "key": "a",
    "status": "failed",
    "error": "TypeError: no",
    "course": {"accuracy": [0.1, None]},
    "final": {"accuracy": None, "loss": 1},
    "config": {"strategy": "krum", "strategy_options": {"m": 2}, "attack": "alie", "attack_options": {}},
    "seconds": 1.5,
    "versions": {"numpy": "2"},
}


def test_a_line_is_read_and_written_the_same():
    result = Result.of(LINE)
    assert (result.rule, result.attack, result.ok) == ("krum (m=2)", "alie", False)
    assert result.history == LINE["course"]
    assert json.dumps(result.to_json()) == json.dumps(LINE)
    line = LINE | {"config": completed(LINE["config"])}
    assert result == Result(**{name: line[name] for name in line if name != "course"}, history=line["course"])


def test_what_is_absent_is_empty_and_null_is_nan():
    result = Result.of({"config": {"strategy": "fedavg"}, "status": "ok"})
    assert (result.attack, result.key, result.error, result.curve(), result.versions) == ("none", "", "", [], {})
    assert math.isnan(result.value())
    assert math.isnan(Result.of(LINE).value())
    assert Result.of(LINE).curve()[0] == 0.1
    assert math.isnan(Result.of(LINE).curve()[1])


@pytest.mark.parametrize("more", [{"final": {"accuracy": "0.5"}}, {"course": {"loss": ["x"]}}, {"course": {"loss": 5}}, {"final": [1]}])
def test_figures_that_are_no_numbers_are_no_results(more):
    line = {"config": {"strategy": "krum"}, "final": {"accuracy": None}, "course": {"loss": [0.1, None], "attack_success": None}}
    assert parse(json.dumps(line).encode()) is not None
    assert parse(json.dumps(line | more).encode()) is None


@pytest.mark.parametrize("line", [b"", b"{", b"3", b"null", b"[]", b'{"config": null}', b'{"config": []}', b'{"config": {"lr": 0.1}}'])
def test_other_lines_are_no_results(line):
    assert parse(line) is None


def test_lines_without_a_key_are_all_kept_and_of_one_key_the_last(tmp_path):
    path = tmp_path / "r.jsonl"
    written = [{}, {"key": "a", "error": "1"}, {}, {"key": "a", "error": "2"}]
    lines = [json.dumps({"config": {"strategy": "krum"}, **line}) for line in written]
    path.write_text("\n".join(lines) + "\n\n" + '{"config": {"stra')
    assert [(result.key, result.error) for result in read(path)] == [("", ""), ("a", "2"), ("", "")]


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(InvalidParameter, match=r"nothing\.jsonl: cannot read this file .*; give the results file of a sweep"):
        read(tmp_path / "nothing.jsonl")


def test_names_carry_their_options_in_order():
    assert named("alie", {"z": 1.50, "goal": "model", "pairs": [[1, 2]]}) == "alie (goal=model, pairs=[[1, 2]], z=1.5)"


def test_files_of_older_versions_whose_keys_have_dashes_are_read():
    old = {"config": {"strategy": "krum", "num-clients": 9}, "versions": {"flwr-byzantine": "0.1.0"}, "final": {"attack-success": 0.5}}
    result = Result.of(old)
    assert (result.config["num_clients"], result.versions, result.value("attack_success")) == (9, {"flwr_byzantine": "0.1.0"}, 0.5)


def test_a_row_for_a_data_frame_has_every_figure_under_a_name_in_snake_case():
    row = Result.of(LINE | {"versions": {"flwr-byzantine": "0.1.0"}}).flat()
    assert (row["strategy"], row["rule"], row["strategy_options"]) == ("krum", "krum (m=2)", '{"m": 2}')
    assert (row["final_loss"], row["seconds"], row["status"], row["version_flwr_byzantine"]) == (1, 1.5, "failed", "0.1.0")
    assert math.isnan(row["final_accuracy"])
    assert all(snake(name) == name for name in row)
