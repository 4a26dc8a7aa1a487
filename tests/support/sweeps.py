"""A tiny sweep, and its processes."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from flwr_byzantine.experiments.results import Result
from flwr_byzantine.experiments.sweep import Store

ROOT = Path(__file__).parents[2]
STRICT = {**os.environ, "PYTHONWARNINGS": "error"}
TINY = """
[sweep]
name = "tiny"
rounds = 2
[task]
num-clients = 5
num-malicious = 1
partition = "gamma"
gamma = 0.5
model = "softmax"
local-steps = 2
[grid]
strategy = ["fedavg", "krum", "nnm+trimmed-mean"]
attack = ["none", "sign-flip", {name = "alie", z = 1.0}]
"""


def write(folder, text, name="s.toml"):
    path = folder / name
    path.write_text(text)
    return path


def results(path):
    """Key -> what must be the same whoever ran it."""
    return {key: (found.status, found.config, found.history, found.final) for key, found in Store(path).read().items()}


def result(key, n=0):
    """A small result, for the store."""
    return Result({"strategy": "krum", "n": n}, key)


def line_of(found):
    return json.dumps(found.to_json()) + "\n"


def children():
    """Pids of the sweep's worker processes."""
    import multiprocessing

    return [child.pid for child in multiprocessing.active_children()]


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@contextmanager
def started(*arguments):
    """A sweep in a process of its own, where a warning is an error, which is not there any more afterwards."""
    command = [sys.executable, "-m", "flwr_byzantine", "sweep", *map(str, arguments), "--processes", "2"]
    process = subprocess.Popen(command, cwd=ROOT, env=STRICT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition, process, timeout=240):
    deadline = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers_of(path):
    """Processes that name this file: the sweep itself, were it still there."""
    listing = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if str(path) in line and "ps -ww" not in line]


def children_of(pid):
    listing = subprocess.run(["ps", "-ww", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    rows = [line.split(None, 2) for line in listing]
    return [int(row[0]) for row in rows if int(row[1]) == pid and "spawn_main" in row[2]]


def alive(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
