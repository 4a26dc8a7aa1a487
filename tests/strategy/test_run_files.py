"""The files of a run, its checkpoint and its reports: no line twice, what a full disk costs, where they may lie, what is cleared away."""

import json
import logging
import resource

import numpy as np
import pytest

import flwr_byzantine as ours
from flwr_byzantine import InfeasibleRound, InvalidParameter
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy import checkpoint
from flwr_byzantine.strategy.report import RoundReport
from tests.support.federation import N, client_app, run, start, values
from tests.support.replies import nan, spoiled
from tests.support.stateful import median


def test_a_report_line_is_in_the_file_once_whatever_was_killed_when(tmp_path):
    path, lines = tmp_path / "run.npz", tmp_path / "rounds.jsonl"
    old = json.loads(RoundReport(9, 1, 1, 1, 0, "Mean()", True, True).to_json())
    old.pop("run")
    others = f"{json.dumps(old)}\nno JSON at all\n"
    lines.write_text(others)
    run(median(path, report_path=lines), 2)
    written = lines.read_text()
    assert written.startswith(others)
    mine = written.removeprefix(others).splitlines()
    assert [json.loads(line)["server_round"] for line in mine] == [1, 2]
    later = mine[1].replace('"server_round": 2', '"server_round": 3')
    for damage in (f"{written}{later}\n{mine[0]}\n", written[:-20], f"{others}{mine[0]}\n", f"{written}{mine[0][:12]}", others):
        lines.write_text(damage)
        run(median(path, report_path=lines, resume=True), 2)
        assert lines.read_text() == written
    lines.write_text(f"{written}{later}\n")
    run(median(path, report_path=lines, resume=True), 4)
    found = lines.read_text().removeprefix(others).splitlines()
    assert [json.loads(line)["server_round"] for line in found] == [1, 2, 3, 4]
    assert len({json.loads(line)["run"] for line in found}) == 1
    assert RoundReport.from_json(json.dumps(old)).run == ""


def test_the_line_of_a_round_comes_after_its_checkpoint(tmp_path):
    lines, seen = tmp_path / "rounds.jsonl", []
    strategy = median(tmp_path / "run.npz", report_path=lines)
    strategy.core.keeper.save = lambda make: seen.append(lines.exists() and len(lines.read_text().splitlines()))
    run(strategy, 2)
    assert seen == [False, 1]


def test_a_round_that_ends_the_run_is_in_the_file_and_its_model_is_kept(tmp_path):
    lines, everyone = tmp_path / "rounds.jsonl", range(1, N + 1)

    def late(reply):
        return nan(reply) if reply.metadata.message_type.startswith("train") and strategy.reports else reply

    strategy = ours.FedMedian(report_path=lines, on_infeasible="error")
    with pytest.raises(InfeasibleRound) as caught:
        run(strategy, 3, spoil=spoiled(late, everyone))
    assert len(lines.read_text().splitlines()) == 2
    assert caught.value.__notes__ == ["the model after round 1 is the strategy's last_model"]
    expected = run(ours.FedMedian(), 1).arrays
    np.testing.assert_array_equal(np.concatenate([value.ravel() for value in strategy.last_model.values()]), values(expected))


@pytest.fixture
def full_disk():
    """A function after which no file of this process grows beyond so many bytes; undone in the end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_for_a_while_costs_loud_lines_and_nothing_else(tmp_path, caplog, full_disk):
    path, lines, unlimited = tmp_path / "run.npz", tmp_path / "rounds.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)[0]

    def disk(server_round, arrays):
        full_disk({1: 100, 2: 100, 3: unlimited}.get(server_round, unlimited))

    strategy = median(path, report_path=lines)
    with caplog.at_level(logging.INFO, "flwr"):
        result = strategy.start(LocalGrid(client_app(), N), start(), 4, evaluate_fn=disk)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [sum(f"round {number} could not be saved to {path}" in text for text in said) for number in (1, 2, 3, 4)] == [0, 1, 1, 0]
    assert sum("the run goes on, but a restart would go on after round 1" in text for text in said) == 2
    assert sum(f"reports could not be written to {lines}" in text for text in said) == 2
    assert f"round 4 is saved to {path} again" in caplog.text
    np.testing.assert_array_equal(values(result.arrays), values(run(ours.FedMedian(), 4).arrays))
    assert [json.loads(line)["server_round"] for line in lines.read_text().splitlines()] == [1, 2, 3, 4]
    assert checkpoint.load(path).server_round == 4
    assert sorted(item.name for item in tmp_path.iterdir()) == ["rounds.jsonl", "run.npz"]


@pytest.mark.parametrize("name", ["checkpoint", "report_path"])
def test_places_that_cannot_be_written_are_refused_before_the_first_round(name, tmp_path, full_disk):
    (tmp_path / "folder").mkdir()
    for value, said in (
        (tmp_path / "folder", "must be a file"),
        ("/dev/null", "must be a file"),
        (5, "must be the path of a file"),
        ("a\0b", "must be the path of a file"),
        (tmp_path / "no" / "file", "must lie in a folder that exists"),
    ):
        with pytest.raises(InvalidParameter, match=f"{name} {said}"):
            ours.FedMedian(**{name: value})
    with pytest.raises(InvalidParameter, match="must be two files"):
        ours.FedMedian(checkpoint=tmp_path / "x", report_path=tmp_path / "x")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    full_disk(100)
    with pytest.raises(InvalidParameter, match=f"{name} must be where it can be written to, got .*: File too large"):
        ours.FedMedian(**{name: tmp_path / "x"})
    full_disk(unlimited)  # pytest's own file, perhaps, is written to before the test is over
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


def test_relative_paths_are_taken_from_the_folder_at_construction_and_logged_absolute(tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    strategy = ours.FedMedian(checkpoint="run.npz", report_path="rounds.jsonl")
    assert (strategy.checkpoint, strategy.report_path) == (str(tmp_path / "run.npz"), str(tmp_path / "rounds.jsonl"))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    with caplog.at_level(logging.INFO, "flwr"):
        run(strategy, 1)
    assert f"after each round the run is saved to {tmp_path / 'run.npz'}, and reported in {tmp_path / 'rounds.jsonl'}" in caplog.text
    assert sorted(item.name for item in tmp_path.iterdir()) == ["other", "rounds.jsonl", "run.npz"]


def test_what_a_killed_writer_left_is_cleared_away(tmp_path):
    path = tmp_path / "run.npz"
    run(median(path), 1)
    (tmp_path / ".run.npz.tmp").write_bytes(b"half")
    (tmp_path / "run.npz.lock").write_text("process 1 on nowhere")
    run(median(path, resume=True), 2)
    assert [item.name for item in tmp_path.iterdir()] == ["run.npz"]
