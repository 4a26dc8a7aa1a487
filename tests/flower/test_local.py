"""The Grid in process, on one process and on several."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from flwr.clientapp import ClientApp

from flwr_byzantine import attacks, rules
from flwr_byzantine.errors import ByzantineError, InvalidParameter
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.experiments.tasks.engines import run_on
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.flower import codec
from flwr_byzantine.flower.codec import flat
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.processes import ForkedWorker
from tests.support.counting import counting_app, round_of, said


@pytest.mark.parametrize("processes", [1, 2, 3, 50])
def test_each_node_keeps_its_state_and_its_process(processes):
    with LocalGrid(counting_app(), 5, processes=processes) as grid:
        first, second = round_of(grid, [3, 1, 5, 2, 4]), round_of(grid, [4, 3, 3])
    assert said(first, "node") == [3, 1, 5, 2, 4]
    assert [reply.metadata.src_node_id for reply in first] == [3, 1, 5, 2, 4]
    assert said(second, "count") == [2, 2, 3]
    assert said(second, "process")[1:] == 2 * said(first, "process")[:1]
    assert len(set(said(first, "process"))) == min(processes, 5)
    assert all(flat(reply.content["arrays"]).tolist() == [0.0, 1.0, 2.0] for reply in first)


def test_errors_of_clients_are_replies_and_spoil_and_order_stay_here():
    def broken(node):
        if node in (2, 3):
            raise ValueError(f"no luck at {node}")

    seen = []
    spoil = lambda reply: seen.append(reply) or (None if reply.metadata.src_node_id == 5 else reply)  # noqa: E731
    with LocalGrid(counting_app(broken), 5, spoil, lambda replies: replies[::-1], processes=2) as grid:
        replies = round_of(grid, [1, 2, 3, 4, 5])
    assert [reply.metadata.src_node_id for reply in replies] == [4, 3, 2, 1]
    assert [reply.error.reason for reply in replies if reply.has_error()] == ["no luck at 3", "no luck at 2"]
    assert len(seen) == 5


def test_a_process_that_dies_is_one_clear_error_and_its_nodes_do_not_start_anew():
    def broken(node):
        if node == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    with LocalGrid(counting_app(broken), 4, processes=2) as grid:
        round_of(grid, [2, 3, 4])
        with pytest.raises(ByzantineError, match=r"process 2 of the LocalGrid's 2 ended \(killed by SIGKILL\)"):
            round_of(grid, [1, 2, 3, 4])
        with pytest.raises(ByzantineError, match=r"process 2 .* start again"):
            round_of(grid, [3])


def test_ctrl_c_ends_the_processes():
    def broken(node):
        if node == 2:
            raise KeyboardInterrupt
        time.sleep(60 if node == 1 else 0)

    grid = LocalGrid(counting_app(broken), 2, processes=2)
    with pytest.raises(KeyboardInterrupt):
        round_of(grid, [1, 2])
    assert not grid.close.alive
    assert not any(fork.process.is_alive() for fork in grid._forks)


def test_a_forgotten_grid_takes_its_processes_with_it():
    grid = LocalGrid(counting_app(), 2, processes=2)
    pid = next(pid for pid in said(round_of(grid, [1, 2]), "process") if pid != os.getpid())
    del grid
    with pytest.raises(ProcessLookupError):  # not even a zombie
        os.kill(pid, 0)


SCRIPT = """
import os, time
from flwr_byzantine.flower.local import LocalGrid
from tests.support.counting import counting_app, round_of
def broken(node):
    if node == 1:
        print(os.getpid(), flush=True)
        time.sleep(600)
round_of(LocalGrid(counting_app(broken), 2, processes=2), [1, 2])
"""


def test_processes_die_with_a_parent_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as parent:
        assert int(parent.stdout.readline()) != parent.pid
        parent.kill()
        parent.communicate(timeout=60)  # the end of what is printed: the child, which could print as well, is gone


@pytest.mark.parametrize("processes", [1, 2])
def test_threads_may_share_a_grid_and_each_process_runs_one_client_at_a_time(processes):
    """As Flower's legacy server does, which has a thread for each client."""
    running, heard = [], []

    def busy(node):
        running.append(node)
        time.sleep(0.002)
        assert running == [node], f"{running} at the same time"
        running.clear()

    def spoil(reply):
        heard.append(reply.metadata.src_node_id)
        time.sleep(0.001)
        assert heard[-1] == reply.metadata.src_node_id, "two replies spoiled at the same time"
        return reply

    with LocalGrid(counting_app(busy), 8, spoil, processes=processes) as grid, ThreadPoolExecutor(8) as pool:
        rounds = [reply for _ in range(5) for reply in pool.map(lambda node: round_of(grid, [node])[0], range(1, 9))]
        assert len(grid._forks) == processes - 1
    assert said(rounds, "node") == 5 * list(range(1, 9))
    assert said(rounds, "count") == [count for count in range(1, 6) for _ in range(8)]
    assert len({reply.metadata.reply_to_message_id for reply in rounds}) == 40


def test_threads_are_told_why_the_processes_have_ended_each_the_same():
    def broken(node):
        if node == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)

    with LocalGrid(counting_app(broken), 9, processes=3) as grid, ThreadPoolExecutor(9) as pool:
        asked = [pool.submit(round_of, grid, [node]) for node in range(1, 10)]
        errors = {str(error) for one in asked if (error := one.exception())}
    assert errors == {"process 2 of the LocalGrid's 3 ended (killed by SIGKILL), and what it knew is lost; start again"}


def test_a_fork_reads_arrays_whatever_other_threads_were_reading():
    """The lock that a thread holds while it reads a header must not stay locked in a fork, which does not have that thread."""
    with codec._ONE_AT_A_TIME, ThreadPoolExecutor(1) as pool:
        made = pool.submit(ForkedWorker, lambda shape: codec.unpack(codec.pack({"w": np.zeros(shape)})["w"].data).shape, "the reader")
        with pytest.raises(TimeoutError):
            made.result(timeout=0.2)
        codec._ONE_AT_A_TIME.release()
        fork = made.result(timeout=60)
        codec._ONE_AT_A_TIME.acquire()
    fork.begin([(3, 1, 4, 1, 5)])
    assert fork.pipe.poll(60), "the fork waits for ever"
    assert fork.results() == [(3, 1, 4, 1, 5)]
    fork.stop()


@pytest.mark.parametrize("processes", [0, 1.5, None])
def test_processes_are_checked(processes):
    with pytest.raises(InvalidParameter, match="LocalGrid: processes must be an integer >= 1"):
        LocalGrid(ClientApp(), 2, processes=processes)


FEDERATIONS = {
    "FedAvg": (Task(num_clients=6, local_epochs=1, momentum=0.9), None, None),
    "a rule under attack": (Task(num_clients=6, num_malicious=1, local_epochs=1), rules.MultiKrum(f=1), attacks.ALIE(z=1.5)),
    "state in the clients": (
        Task(num_clients=6, num_malicious=1, method="byzantine-sgd", momentum=0.9),
        rules.Median(f=1),
        attacks.get("label-flip")(),
    ),
}


@pytest.mark.parametrize("name", FEDERATIONS)
def test_a_federation_is_the_same_on_any_number_of_processes(name):
    task, rule, attack = FEDERATIONS[name]
    found = []
    for processes in (1, 2, None):
        run_on("local", lambda grid: found.append(federate(grid, task, rule, attack, 3)), task.num_clients, processes)
    (course, arrays), *others = found
    for other_course, other_arrays in others:
        assert repr(other_course) == repr(course)  # NaN is like NaN
        assert other_arrays == arrays
