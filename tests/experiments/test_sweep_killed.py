"""Sweeps that are interrupted or killed."""

import signal
import time

import pytest

from flwr_byzantine.experiments.sweep import Store, read
from tests.support.sweeps import TINY, alive, children_of, lines, results, started, wait_for, workers_of, write


def test_ctrl_c_leaves_what_is_finished_and_no_processes(tmp_path):
    path = write(tmp_path, TINY.replace("rounds = 2", "rounds = 3000"))
    target = tmp_path / "r.jsonl"
    with started(path, "--results", target) as process:
        wait_for(lambda: lines(target) >= 1, process)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "run the same command again to go on" in said
    assert 1 <= len(Store(target).read()) < 9
    assert not workers_of(path)


@pytest.mark.slow
def test_a_sweep_killed_three_times_ends_as_one_that_was_not(tmp_path):
    grid = "strategy = ['fedavg', 'krum', 'median', 'nnm+krum']\nattack = ['none', 'sign-flip', 'alie', 'ipm', 'zero']\nseed = "
    text = TINY[: TINY.index("strategy =")] + grid + str(list(range(10))) + "\n"
    path = write(tmp_path, text.replace("rounds = 2", "rounds = 1"))
    assert len(read(path).cells) == 200
    target = tmp_path / "killed.jsonl"
    for _ in range(3):
        before = lines(target)
        with started(path, "--results", target) as process:
            wait_for(lambda before=before: lines(target) >= before + 40, process)
        assert process.returncode == -signal.SIGKILL
        assert before + 40 <= lines(target) < 200
    for results_file in (target, tmp_path / "whole.jsonl"):
        with started(path, "--results", results_file) as process:
            said, _ = process.communicate(timeout=400)
        assert "0 failed" in said
        assert process.returncode == 0
    assert len(results(target)) == 200
    assert results(target) == results(tmp_path / "whole.jsonl")


@pytest.mark.slow
def test_workers_end_with_a_sweep_that_is_killed(tmp_path):
    path = write(tmp_path, TINY.replace("rounds = 2", "rounds = 5000"))
    with started(path, "--results", tmp_path / "r.jsonl") as process:
        wait_for(lambda: len(children_of(process.pid)) >= 2, process)
        found = children_of(process.pid)
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in found) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in found)
