"""The server of the benchmark: in each turn one round of every strategy, each a run of its own; what its parts took is written down."""

import json
import os
import sys
import time
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp, strategy

import flwr_byzantine
from flwr_byzantine.flower import compat
from flwr_byzantine.strategy.inspection import Inspector
from flwr_byzantine.strategy.keeper import Keeper

LAYERS = {"embedding": 0.4, "a": 0.24, "b": 0.2, "c": 0.1, "head": 0.06}  # shares of the model's values
HttpGrid = compat.inside("flwr.superlink.grid.http_grid", "HttpGrid", "tests")
Client = compat.inside("flwr.supercore.runtime", "RuntimeHttpClient", "tests")
OURS = {"our Krum": "krum", "our NNM + trimmed mean": "nnm+trimmed-mean"}
WATCHED = {  # part of a round -> what does it
    "inflation": [(sys.modules[HttpGrid.__module__], "inflate_object_from_contents")],
    "inspection": [(Inspector, "arrived"), (Inspector, "inspect")],
    "aggregation": [(each, "aggregate_train") for each in (strategy.FedAvg, strategy.Krum, flwr_byzantine.Robust)],
    "writing": [(Keeper, "save"), (Keeper, "report")],
    "sending": [(HttpGrid, "push_messages")],
}
app = ServerApp()


class Watch:
    """What ran in the round that is under way, and when.

    Args:
        link: the SuperLink's process.

    Attributes:
        spans: (part, begin, end), on one clock.
        requests: how many for replies and their parts have gone to the SuperLink so far.
    """

    def __init__(self, link):
        self.link, self.spans, self.requests = link, [], 0
        for part, functions in WATCHED.items():
            for owner, name in functions:
                setattr(owner, name, self.timed(getattr(owner, name), part))
        for name in ("PullMessages", "PullObject"):
            setattr(Client, name, self.counted(getattr(Client, name)))

    def timed(self, function, part):
        """The function, which says when it ran."""

        @wraps(function)
        def timed(*arguments, **keywords):
            begin = time.time()
            try:
                return function(*arguments, **keywords)
            finally:
                self.spans.append((part, begin, time.time()))

        return timed

    def counted(self, function):
        """The function, whose calls are counted."""

        @wraps(function)
        def counted(*arguments, **keywords):
            self.requests += 1
            return function(*arguments, **keywords)

        return counted

    def now(self):
        """The time, the processor seconds of this process and of the SuperLink's so far, and the requests."""
        return time.time(), time.process_time(), processor(self.link), self.requests


def processor(pid):
    """Seconds that a process and all its threads have computed."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def made(name, nodes, folder):
    """A strategy that asks all nodes; ours write their checkpoint and their reports."""
    everyone = {"min_train_nodes": nodes, "min_available_nodes": nodes, "fraction_evaluate": 0.0}
    f = (nodes - 3) // 3
    if name in OURS:
        files = {"checkpoint": folder / "run.ckpt", "report_path": folder / "run.jsonl"}
        return flwr_byzantine.Robust(OURS[name], strategy.FedAvg(**everyone), f=f, **files)
    return strategy.FedAvg(**everyone) if name == "FedAvg" else strategy.Krum(num_malicious_nodes=f, **everyone)


@app.main()
def main(grid, context):
    """All turns; the first is no measurement: it compiles."""
    config = context.run_config
    watch, found = Watch(config["link"]), []
    model = ArrayRecord({name: Array(np.zeros(round(share * config["values"]), np.float32)) for name, share in LAYERS.items()})
    for turn in range(config["turns"]):
        for name in config["strategies"].split(", "):
            with TemporaryDirectory() as folder:
                found.append({"turn": turn, "strategy": name} | one_round(made(name, config["nodes"], Path(folder)), grid, model, watch))
    Path(config["results"]).write_text(json.dumps(found))


def one_round(chosen, grid, model, watch):
    """Run it; from just before the choice of nodes to the new model."""
    watch.spans, ends = [], []
    chosen.start(grid, model, 1, evaluate_fn=lambda *_: ends.append(watch.now()))
    return {"begin": ends[0], "end": ends[1], "spans": watch.spans}
