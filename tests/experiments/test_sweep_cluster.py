"""Sweeps on a Ray cluster."""

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from ray import exceptions

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep import cluster, read, run, runner
from flwr_byzantine.experiments.sweep.cluster import Cluster, reach
from flwr_byzantine.experiments.sweep.site import Site
from tests.support.cluster import two_nodes
from tests.support.sweeps import ROOT, STRICT, TINY, lines, results, started, wait_for, write

# Where Ray is


@pytest.mark.parametrize("address", ["", "local", "host", "host:", "host:port", "http://host:1", "ray://host", "host:1/2", "a b:1"])
def test_an_address_has_one_of_three_forms(address):
    with pytest.raises(InvalidParameter, match='"auto", "HOST:PORT" or "ray://HOST:PORT", got'):
        reach(address)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "localhost:99999", "nobody.invalid:6379", "[::1]:1"])
def test_an_address_where_nobody_listens_is_one_sentence_at_once(address):
    with pytest.raises(InvalidParameter, match=r"nobody listens at .*; start a cluster there by `ray start --head`"):
        reach(address)


def test_who_listens_and_is_no_ray_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(cluster, "JOIN_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(InvalidParameter, match=r"no Ray answers at .* within 2 s"):
        reach(f"127.0.0.1:{server.getsockname()[1]}")


def test_the_address_of_the_environment_is_looked_at_too(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InvalidParameter, match=r"nobody listens at '127\.0\.0\.1:1'"):
        reach("auto")


@pytest.mark.parametrize("gpus", [1.5, -1, float("nan"), float("inf")])
def test_gpus_are_a_share_or_whole(gpus):
    with pytest.raises(InvalidParameter, match="--ray-gpus must be a share of a GPU, or a whole number of them, got"):
        Cluster("auto", gpus)


def test_why_a_cluster_cannot_be_joined_is_said_in_one_sentence(monkeypatch):
    monkeypatch.setattr(cluster, "TRY", "raise ConnectionError('no Ray here')")
    with pytest.raises(InvalidParameter, match=r"cannot join the cluster at 'auto' \(ConnectionError: no Ray here\)"):
        reach("auto")


# What a node must have


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Site.here(read(write(tmp_path, TINY)))


@pytest.mark.parametrize("name", ["Python", "flwr-byzantine", "flwr", "numpy", "torch"])
def test_a_node_with_another_version_is_not_fit(site, name):
    other = dataclasses.replace(site, packages=site.packages | {name: "0.0.1"})
    with pytest.raises(InvalidParameter, match=rf"{name} is .*, here 0\.0\.1; .* install the same on all nodes"):
        other.enter([])


def test_a_node_with_other_code_is_not_fit(site):
    with pytest.raises(InvalidParameter, match="the code of flwr-byzantine is another"):
        dataclasses.replace(site, code="0").enter([])


def test_a_node_without_the_data_is_not_fit(site, tmp_path):
    sweep = read(write(tmp_path, TINY))
    cell = dataclasses.replace(sweep.cells[0], config=sweep.cells[0].config | {"dataset": "fashion-mnist"})
    with pytest.raises(InvalidParameter, match="nowhere"):
        dataclasses.replace(site, data_root="nowhere").enter([cell])


def test_a_node_works_in_the_same_folder(site, tmp_path):
    (tmp_path / "below").mkdir()
    dataclasses.replace(site, folder=str(tmp_path / "below")).enter([])
    assert os.getcwd() == str(tmp_path / "below") == sys.path[0]
    dataclasses.replace(site, folder="/not/there").enter([])
    assert os.getcwd() == str(tmp_path / "below")


def test_a_node_without_a_model_of_ones_own_is_not_fit(site, tmp_path):
    sweep = read(write(tmp_path, TINY))
    cell = dataclasses.replace(sweep.cells[0], config=sweep.cells[0].config | {"model": "not_there:net"})
    with pytest.raises(InvalidParameter, match="cannot import 'not_there'"):
        site.enter([cell])


# What becomes of a task


@pytest.fixture
def ended(monkeypatch, tmp_path):
    """What a cluster makes of the error that a task ended with, and the sentences that it says."""
    said = []
    cell = read(write(tmp_path, TINY)).cells[0]

    def ended(error, attempt=1):
        stub = SimpleNamespace(get=Mock(side_effect=error))
        monkeypatch.setattr(cluster, "_ray", lambda: stub)
        return Cluster("auto", on_lost=said.append)._result("reference", cell, attempt), said

    return ended


@pytest.mark.parametrize("name", ["WorkerCrashedError", "NodeDiedError", "ObjectLostError", "OutOfMemoryError", "LocalRayletDiedError"])
def test_a_lost_task_runs_again_twice_and_is_then_a_failed_one(ended, name):
    kind = getattr(exceptions, name)
    error = kind("0" * 56, None, "") if name == "ObjectLostError" else kind("") if name in ("NodeDiedError", "OutOfMemoryError") else kind()
    for attempt in (1, 2):
        result, said = ended(error, attempt)
        assert result is None
        assert f"({name}); it runs again" in said[-1]
    result, said = ended(error, 3)
    assert result.error == f"WorkerDied: the node or the process that ran it was lost ({name}), 3 times"
    assert len(said) == 2


def test_a_task_that_raises_is_a_failed_one_at_once(ended):
    result, said = ended(exceptions.RayTaskError("f", "Traceback\n  line 1\nSystemExit: 3\n", SystemExit(3)))
    assert (result.status, result.error, said) == ("failed", "SystemExit: 3", [])


def test_a_node_that_is_not_fit_ends_the_sweep(ended):
    error = exceptions.RayTaskError("f", "Traceback\n", InvalidParameter("the node 10.0.0.1: numpy is 1, here 2"))
    with pytest.raises(InvalidParameter, match=r"^--ray: the node 10\.0\.0\.1: numpy is 1, here 2$"):
        ended(error.as_instanceof_cause())


@pytest.mark.parametrize("cancel", [True, False])
def test_what_still_runs_is_cancelled_unless_leaving_the_cluster_ends_it(monkeypatch, tmp_path, cancel):
    sweep = read(write(tmp_path, TINY))
    task = SimpleNamespace(remote=Mock(side_effect="abc"), options=lambda **_options: task)
    stub = SimpleNamespace(remote=lambda _run: task, wait=lambda running: (running[:1], running[1:]), get=Mock(), cancel=Mock())
    monkeypatch.setattr(cluster, "_ray", lambda: stub)
    found = Cluster("auto").run_all(sweep, sweep.cells, 3, profile=False, cancel=cancel)
    next(found)
    found.close()
    assert [call.args for call in stub.cancel.call_args_list] == ([("b",), ("c",)] if cancel else [])


def test_ctrl_c_while_a_result_is_stored_ends_what_still_runs(monkeypatch, tmp_path):
    ended = Mock()

    def run_all(*_arguments):
        try:
            yield from (Result(cell.config, cell.key) for cell in sweep.cells)
        finally:
            ended()

    sweep = read(write(tmp_path, TINY))
    monkeypatch.setattr(runner, "run_all", run_all)
    summary = run(sweep, tmp_path / "r.jsonl", on_result=Mock(side_effect=KeyboardInterrupt))
    ended.assert_called_once_with()
    assert (summary.finished, summary.left) == (1, 8)


# On two nodes


@pytest.fixture(scope="module")
def nodes():
    with two_nodes() as found:
        yield found


@pytest.mark.slow
def test_of_two_sweeps_that_share_a_cluster_ctrl_c_ends_one_alone(nodes, tiny, tmp_path):
    text, both = TINY.replace('"krum", "nnm+trimmed-mean"', '"krum"'), [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    paths = [write(tmp_path, TINY.replace("rounds = 2\n", "") + "rounds = [2, 100000]\n", "long.toml"), write(tmp_path, text)]
    on = ("--ray", nodes.address)
    with started(paths[0], "--results", both[0], *on) as first, started(paths[1], "--results", both[1], *on) as second:
        wait_for(lambda: lines(both[0]) >= 1, first)
        first.send_signal(signal.SIGINT)
        said, _ = first.communicate(timeout=240)
        assert first.returncode == 130, said
        assert "interrupted: run the same command again to go on" in said
        assert second.wait(240) == 0
        nodes.tell("rest")  # the cell of 100000 rounds has ended with the sweep that began it
    assert 1 <= lines(both[0]) <= 9
    assert lines(both[1]) == 6
    assert results(both[1]).items() <= results(tiny[2]).items()


@pytest.mark.slow
def test_two_nodes_of_which_one_is_killed_give_the_results_of_one(nodes, tmp_path):
    text = TINY.replace("rounds = 2", "rounds = 400").replace('"krum", "nnm+trimmed-mean"', '"krum"')
    path, target, alone = write(tmp_path, text), tmp_path / "r.jsonl", tmp_path / "one.jsonl"
    with started(path, "--results", target, "--ray", nodes.address) as process:
        wait_for(lambda: lines(target) >= 2, process)
        time.sleep(0.5)  # for both nodes to be within their next cells, as long as the first, and not between two
        nodes.tell("kill")
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert "6 cells finished, 0 failed" in said
    assert said.count("it runs again") == 1
    run(read(path), alone, processes=1)
    assert results(target) == results(alone)


@pytest.mark.slow
def test_a_node_with_other_code_is_one_sentence_before_anything_runs(nodes, tmp_path):
    shutil.copytree(ROOT / "flwr_byzantine", tmp_path / "flwr_byzantine", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "flwr_byzantine" / "another.py").touch()
    nodes.tell("add", f"PYTHONPATH={tmp_path}")
    path, target, elsewhere = write(tmp_path, TINY), tmp_path / "r.jsonl", tmp_path / "elsewhere"
    elsewhere.mkdir()  # Ray puts the current folder on the path of its processes
    command = [sys.executable, "-m", "flwr_byzantine", "sweep", path, "--results", target, "--ray", nodes.address]
    strict = STRICT | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=elsewhere, env=strict, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "the code of flwr-byzantine is another" in done.stderr
    assert "Traceback" not in done.stderr
    assert not target.exists()
