"""A Ray cluster of two nodes on loopback, in a process of its own, which no other Ray of this machine takes for its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager


class Nodes:
    """The cluster as a test sees it: its address, and what can be done to the node beside its head."""

    def __init__(self, process):
        self.process, self.address = process, process.stdout.readline().strip()

    def tell(self, *words):
        """Words for `serve`, and wait until it is done."""
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@contextmanager
def two_nodes(**variables):
    """The cluster, each node with one core; the second one with these variables in its environment."""
    folder = tempfile.mkdtemp(dir="/tmp")  # paths of sockets are short
    quiet = {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "PYTHONWARNINGS": "ignore"}
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-m", "tests.support.cluster"], env=os.environ | quiet, **streams) as process:
        try:
            nodes = Nodes(process)
            nodes.tell("add", *(f"{name}={value}" for name, value in variables.items()))
            yield nodes
        finally:
            process.stdin.close()
            process.wait(30)
            shutil.rmtree(folder, ignore_errors=True)


def serve():
    """Start the head, say its address, and do as told: add a second node with variables, kill it while it runs a cell, wait for no cell."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    print(cluster.address, flush=True)
    try:
        for order, *words in map(str.split, sys.stdin):
            if order == "add":
                node = cluster.add_node(num_cpus=1, env_vars=dict(word.split("=", 1) for word in words))
            elif order == "kill":
                until(runs_a_cell, node)
                cluster.remove_node(node, allow_graceful=False)
            elif order == "rest":
                until(rest, cluster.list_all_nodes())
            print("done", flush=True)
    finally:
        cluster.shutdown()


def until(condition, subject):
    """Wait for it; a minute in vain ends the process, and with it the cluster."""
    deadline = time.monotonic() + 60
    while not condition(subject):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def runs_a_cell(node):
    """Whether a process of this node has a task that is a cell: Ray names its processes by what they do."""
    (raylet,) = node.all_processes["raylet"]
    listing = subprocess.run(["ps", "--ppid", str(raylet.process.pid), "-o", "args="], capture_output=True, text=True, check=False)
    return "ray::_run" in listing.stdout


def rest(nodes):
    """Whether none of them has such a process."""
    return not any(map(runs_a_cell, nodes))


if __name__ == "__main__":
    serve()
