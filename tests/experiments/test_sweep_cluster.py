"""Sweeps on a Ray cluster."""

import dataclasses
import os
import socket
import sys

import pytest

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.sweep import cluster, read, run
from flwr_byzantine.experiments.sweep.cluster import reach
from flwr_byzantine.experiments.sweep.site import Site
from tests.support.cluster import two_nodes
from tests.support.sweeps import TINY, lines, results, started, wait_for, write

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
    with pytest.raises(InvalidParameter, match=rf"has {name} .*, this machine 0\.0\.1; .* install the same on all nodes"):
        other.enter([])


def test_a_node_with_other_code_is_not_fit(site):
    with pytest.raises(InvalidParameter, match="has other code of flwr-byzantine"):
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


# On two nodes


@pytest.fixture(scope="module")
def nodes():
    with two_nodes() as found:
        yield found


@pytest.mark.slow
def test_two_nodes_of_which_one_is_killed_give_the_results_of_one(nodes, tmp_path):
    path, target, alone = write(tmp_path, TINY.replace("rounds = 2", "rounds = 100")), tmp_path / "r.jsonl", tmp_path / "one.jsonl"
    with started(path, "--results", target, "--ray", nodes.address) as process:
        wait_for(lambda: lines(target) >= 2, process)
        nodes.tell("kill")
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "9 cells finished, 0 failed" in said
    assert said.count("it runs again") == 1
    run(read(path), alone, processes=1)
    assert results(target) == results(alone)
