"""Passes on all cores: who works where."""

import os
import threading
import time

import pytest

from flwr_byzantine.arrays import parallel

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or parallel.cores() < 2, reason="needs two cores and a system that says which"
)


def busy(part):
    end = time.monotonic() + 0.005  # long enough for the other threads to take some too
    while time.monotonic() < end:
        time.sleep(0.0005)
    return threading.get_native_id(), frozenset(os.sched_getaffinity(0))


@needs_affinity
def test_other_threads_leave_the_core_of_the_one_that_calls_and_it_stays_free():
    before = os.sched_getaffinity(0)
    for _ in range(2):  # the threads begin in the first
        found = dict(parallel.run(busy, range(8 * parallel.cores()), compiled=True))
    own = found.pop(threading.get_native_id())
    assert own == before == os.sched_getaffinity(0)
    assert found
    assert all(cores < before and len(cores) == len(before) - 1 for cores in found.values())


@needs_affinity
def test_where_the_system_forbids_that_the_pass_runs_all_the_same(monkeypatch):
    def refuse(thread, cores):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert list(parallel.run(lambda part: part, range(5), compiled=True)) == list(range(5))


def test_no_part_is_no_work():
    assert list(parallel.run(lambda part: part, [], compiled=True)) == []
