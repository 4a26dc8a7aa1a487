"""SIGKILL of a server at random moments, also while it writes its checkpoint, and a start of the same program again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest

from flwr_byzantine.strategy.checkpoint import beside, load
from tests.support.federation import N

KILLS = 10  # under each kind of participation
ROUNDS = 25
SERVER = """
import random, sys, time
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdam
from flwr_byzantine import Robust, rules
from flwr_byzantine.flower.local import LocalGrid

app = ClientApp()

@app.train()
def train(message, context):
    rng = np.random.default_rng([context.node_id, message.content["config"]["server-round"]])
    value = message.content["arrays"]["w"].numpy()
    model = ArrayRecord({"w": Array(value + (1 - value) / 2 + rng.normal(size=value.shape))})
    return Message(RecordDict({"arrays": model, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

@app.evaluate()
def evaluate(message, context):
    return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

path, share, rounds, nodes = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
random.seed(7)
np.random.seed(7)
sampling = {"fraction_train": share, "fraction_evaluate": share, "min_available_nodes": nodes}
strategy = Robust(rules.TrimmedMean(f=1), FedAdam(**sampling), checkpoint=path, resume=True, report_path=path + ".jsonl")
model = ArrayRecord({"w": Array(np.zeros(300_000))})
result = strategy.start(LocalGrid(app, nodes), model, rounds)
np.save(path + ".npy", result.arrays["w"].numpy())
"""


def begun(path, share):
    command = [sys.executable, "-c", SERVER, str(path), str(share), str(ROUNDS), str(N)]
    return subprocess.Popen(command, cwd=os.getcwd(), stderr=subprocess.DEVNULL)


def writing(path):
    """Which file is on its way to be the checkpoint: a number that no other has, or None."""
    with suppress(FileNotFoundError):
        found = beside(path).stat()
        return found.st_ino, found.st_ctime_ns
    return None


def wait_for_writing(process, path, old, patience=60):
    """Until the checkpoint is being written, where a killed writer has left `old`, or the process has ended."""
    deadline = time.monotonic() + patience
    while process.poll() is None and writing(path) in (old, None):
        assert time.monotonic() < deadline


def done(path):
    found = load(path)
    return 0 if found is None else found.server_round


def killed_often(killed, share):
    """How many servers were killed, and how many of them while they wrote the checkpoint, which was whole after each."""
    rng, kills, while_writing, last = random.Random(str(share)), 0, 0, 0
    while kills < KILLS:
        old = writing(killed)
        process = begun(killed, share)
        wait_for_writing(process, killed, old)
        if kills % 2:
            time.sleep(rng.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if process.returncode == 0:
            break
        kills += 1
        while_writing += writing(killed) not in (old, None)
        assert last <= done(killed)  # the file is whole
        last = done(killed)
    return kills, while_writing


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 0.5], ids=["all nodes", "half of them"])
def test_a_server_killed_again_and_again_ends_with_the_same_model_sample_and_reports(share, tmp_path):
    whole, killed = tmp_path / "whole.npz", tmp_path / "killed.npz"
    assert begun(whole, share).wait(timeout=300) == 0
    kills, while_writing = killed_often(killed, share)
    assert begun(killed, share).wait(timeout=300) == 0
    print(f"{kills} kills, {while_writing} while the checkpoint was written")
    assert kills >= KILLS // 2
    assert while_writing > 0
    np.testing.assert_array_equal(np.load(f"{killed}.npy"), np.load(f"{whole}.npy"))
    reports = [[json.loads(line) for line in (tmp_path / f"{name}.npz.jsonl").read_text().splitlines()] for name in ("whole", "killed")]
    assert [[row["server_round"] for row in rows] for rows in reports] == [list(range(1, ROUNDS + 1))] * 2
    assert [row["nodes"] for row in reports[0]] == [row["nodes"] for row in reports[1]]
    assert len({row["run"] for row in reports[1]}) == 1
    left = {"killed.npz", "killed.npz.jsonl", "killed.npz.npy", "whole.npz", "whole.npz.jsonl", "whole.npz.npy"}
    assert {path.name for path in tmp_path.iterdir()} == left
