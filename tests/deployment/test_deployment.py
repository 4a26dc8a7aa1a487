"""A real federation on loopback: TLS, node authentication, five SuperNodes, one of them hostile in a new way each round."""

import signal

import pytest

from tests.support.deployment import Federation, needs_keys, write_app

SERVER = """
import json, time
from pathlib import Path
import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from flwr_byzantine import FedTrimmedAvg

app = ServerApp()

@app.main()
def main(grid, context):
    strategy = FedTrimmedAvg(f=1, grace=4.0, min_train_nodes=5, min_available_nodes=5, fraction_evaluate=0.0)
    times, kinds = [], str(context.run_config["kinds"]).split()
    measure = lambda number, arrays: times.append(time.time())
    result = strategy.start(grid, ArrayRecord({"w": Array(np.zeros(1000, np.float32))}), len(kinds), evaluate_fn=measure)
    found = {
        "error": float(np.abs(result.arrays["w"].numpy() - 1).max()),
        "seconds": np.diff(times).tolist(),
        "reports": [json.loads(report.to_json()) for report in strategy.reports],
    }
    Path(str(context.run_config["results"])).write_text(json.dumps(found))
"""
CLIENT = """
import os, time
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(message, context):
    w = message.content["arrays"]["w"].numpy()
    reply = Array((w + (1 - w) / 2).astype(np.float32))
    kinds, number = str(context.run_config["kinds"]).split(), int(message.content["config"]["server-round"])
    kind = kinds[number - 1] if context.node_config["partition-id"] == 4 else ""
    if kind == "shapes":
        reply = Array(np.zeros((3, 3), np.float32))
    if kind == "NaN":
        reply = Array(np.full(1000, np.nan, np.float32))
    if kind == "garbage":
        reply = Array("float32", (1000,), "numpy.ndarray", b"garbage")
    if kind == "huge":
        reply = Array(np.zeros(5_000_000, np.float32))
    if kind == "hang":
        time.sleep(15)
    if kind == "exit":
        os._exit(1)
    return Message(RecordDict({"arrays": ArrayRecord({"w": reply}), "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)
"""


def play(federation, app, **expected):
    """A run in which node 4 plays one kind a round, and is found to be what is expected; nobody else is."""
    run = federation.run(app, kinds=" ".join(expected))
    found = run.result(timeout=280)
    assert run.status() == "finished:completed"
    assert found["error"] <= 0.5 ** len(expected) + 1e-3
    for report, (kind, status) in zip(found["reports"], expected.items(), strict=True):
        others = {int(node): entry["status"] for node, entry in report["nodes"].items()}
        assert others.pop(federation.node_ids[4]) == status, kind
        assert set(others.values()) == {"kept"}, kind
    print("seconds a round:", [round(value, 2) for value in found["seconds"]])


@pytest.mark.slow
@needs_keys
def test_a_real_federation_with_one_hostile_client_app(tmp_path):
    app = write_app(tmp_path / "app", SERVER, CLIENT, kinds="")
    with Federation(tmp_path) as federation:
        play(federation, app, none="kept", shapes="invalid", NaN="invalid", garbage="invalid", huge="invalid", hang="missing")
        federation.kill("node4", signal.SIGTERM)  # and the client app that hangs with it
        federation.restart("node4")
        play(federation, app, exit="missing")
