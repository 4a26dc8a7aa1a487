"""SIGKILL of ServerApp, SuperLink and SuperNodes at random moments, then `flwr run` again: the model is the uninterrupted one's."""

import os
import random
import time
from collections import Counter
from functools import partial
from threading import Event, Lock, Thread

import pytest

from flwr_byzantine.strategy.checkpoint import load
from tests.support.deployment import Federation, needs_keys, write_app

KILLS = int(os.environ.get("KILLS", "3"))  # under each kind of participation; twenty in all are KILLS=10
NODES = 5
SERVER = """
import json, random
from pathlib import Path
import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from flwr_byzantine import FedTrimmedAvg

app = ServerApp()


@app.main()
def main(grid, context):
    config = context.run_config
    random.seed(7)
    np.random.seed(7)
    strategy = FedTrimmedAvg(
        f=1, fraction_train=config["share"], fraction_evaluate=0.4, min_available_nodes=5, grace=300.0,
        checkpoint=config["path"], resume=True, report_path=config["path"] + ".jsonl",
    )
    model = ArrayRecord({"w": Array(np.zeros(200_000))})
    result = strategy.start(grid, model, num_rounds=config["rounds"])
    sampled = [sorted(report.nodes) for report in strategy.reports]
    found = {"bytes": result.arrays["w"].numpy().tobytes().hex()[:4000], "sampled": sampled}
    found["answered"] = all(report.n_valid == report.n_sampled for report in strategy.reports)
    found["sum"] = float(result.arrays["w"].numpy().sum()).hex()
    Path(config["results"]).write_text(json.dumps(found))
"""
CLIENT = """
import time
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    rng = np.random.default_rng([context.node_config["partition-id"], message.content["config"]["server-round"]])
    value = message.content["arrays"]["w"].numpy()
    time.sleep(0.1)
    model = ArrayRecord({"w": Array(value + (1 - value) / 2 + rng.normal(size=value.shape))})
    return Message(RecordDict({"arrays": model, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)


@app.evaluate()
def evaluate(message, context):
    return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1, "accuracy": 0.5})}), reply_to=message)
"""


class Killer:
    """Kills roles of a federation while a run goes on, and starts again what must be.

    Args:
        federation: a `Federation`.
        begin: starts `flwr run` and returns the `Run`.
        checkpoint: the run's.

    Attributes:
        kills: how often each kind of process was killed.
    """

    def __init__(self, federation, begin, checkpoint):
        self.federation, self.begin, self.checkpoint, self.kills = federation, begin, checkpoint, Counter()
        self.run = begin()
        self.over, self.starting, self.thread = Event(), Lock(), Thread(target=self.supervise)

    def wait(self, role, patience=120):
        """Until there is a process of the role to kill.

        Raises:
            AssertionError: there is none.
        """
        deadline = time.monotonic() + patience
        while not self.federation.pids(role):
            assert time.monotonic() < deadline, self.run.log[-3000:] + self.federation.log("link")[-3000:]
            time.sleep(0.05)

    def work(self, seconds, rounds):
        """Let the run go on for so long, but not into its last round: there must be something to lose."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.done() < rounds - 1:
            time.sleep(0.2)

    def done(self):
        """Rounds in the checkpoint, which is whole whenever it is read."""
        found = load(self.checkpoint)
        return 0 if found is None else found.server_round

    def kill(self, role):
        """Kill a role now, start it again, and begin the run again.

        A round in which a SuperNode dies, or is not back yet, has one answer less, and another model: that run is ended before it
        makes one, and the next begins when the node is back. A ServerApp outlives its SuperLink, goes on with the run when that is
        back, and holds the checkpoint meanwhile: it is ended then, or the next would be refused while it lives.
        """
        kind = role.rstrip("0123456789")
        self.kills[kind] += 1
        with self.starting:
            self.federation.kill(role)
            if kind == "node":
                self.federation.kill("serverapp")
            self.run.process.kill()
            self.run.process.wait()
            if kind != "serverapp":
                self.federation.restart(role)
            self.federation.kill("serverapp")
        self.run = self.begin()

    def supervise(self):
        """Start SuperNodes that have ended until all is over: while the SuperLink takes a killed one to be alive, it refuses it."""
        while not self.over.wait(2):
            with self.starting:
                for index in range(NODES):
                    if not self.federation.pids(f"node{index}"):
                        self.federation.start(f"node{index}")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def kill_again_and_again(killer, rounds, rng):
    for k in range(KILLS):
        killer.wait("serverapp")
        killer.work(15 * rng.random(), rounds)
        assert killer.done() < rounds  # there is still something to lose
        killer.kill([f"node{rng.randrange(NODES)}", "serverapp", "link"][(k + 1) % 3])


@needs_keys
@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 0.6], ids=["all nodes", "three of five"])
def test_a_federation_that_is_killed_again_and_again_ends_with_the_same_model(share, tmp_path):
    rng, rounds = random.Random(str(share)), KILLS + 3
    app = write_app(tmp_path / "app", SERVER, CLIENT, path="", share=1.0, rounds=3)
    (tmp_path / "federation").mkdir()
    with Federation(tmp_path / "federation", NODES, tmp_path / "link.db") as federation:

        def begin(name):
            return federation.run(app, path=str(tmp_path / name), share=share, rounds=rounds)

        expected = begin("whole").result(400)
        for name in ("killed0", "killed1", "killed2"):  # anew where a round had an answer less, and so another model
            with Killer(federation, partial(begin, name), tmp_path / name) as killer:
                kill_again_and_again(killer, rounds, rng)
                found = killer.run.result(400)
            if found["answered"]:
                break
    print(dict(killer.kills), found["sampled"])
    assert sum(killer.kills.values()) == KILLS
    assert found == expected
    lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
    assert len(lines) == rounds
    assert sorted(path.name for path in tmp_path.iterdir() if name in path.name) == [name, f"{name}.jsonl"]
