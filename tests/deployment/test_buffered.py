"""Buffered rounds on loopback: five SuperNodes, one quick and hostile, one slow, one that hangs at its first message."""

import json

import pytest

from tests.support.deployment import Federation, needs_keys, write_app

SERVER = """
import json
from pathlib import Path
import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr_byzantine import Buffered

app = ServerApp()

@app.main()
def main(grid, context):
    strategy = Buffered("trimmed-mean", 3, FedAvg(fraction_evaluate=0.0, min_available_nodes=5), num_malicious=1)
    result = strategy.start(grid, ArrayRecord({"w": Array(np.zeros(1000, np.float32))}), 10)
    found = {
        "error": float(np.abs(result.arrays["w"].numpy() - 1).max()),
        "reports": [json.loads(report.to_json()) for report in strategy.reports],
    }
    Path(str(context.run_config["results"])).write_text(json.dumps(found))
"""
CLIENT = """
import time
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(message, context):
    w, place = message.content["arrays"]["w"].numpy(), context.node_config["partition-id"]
    number = int(message.content["config"]["server-round"])
    if place == 2:
        time.sleep(3)
    if place == 3 and number == 1:
        time.sleep(60)
    step = -100 if place == 4 else 0.5
    reply = Array(np.full(7, np.nan, np.float32) if place == 4 and number % 2 else (w + step * (1 - w)).astype(np.float32))
    return Message(RecordDict({"arrays": ArrayRecord({"w": reply}), "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)
"""


@pytest.mark.slow
@needs_keys
def test_a_buffered_run_waits_neither_for_the_slow_nor_for_the_silent(tmp_path):
    app = write_app(tmp_path / "app", SERVER, CLIENT)
    with Federation(tmp_path) as federation:
        run = federation.run(app)
        found = run.result(timeout=280)
        assert run.status() == "finished:completed"
        place = {str(node): index for index, node in federation.node_ids.items()}
    assert found["error"] < 0.1
    nodes = [{place[node]: entry for node, entry in report["nodes"].items()} for report in found["reports"]]
    print(json.dumps([{k: (e["status"], e.get("staleness"), e["seconds"]) for k, e in entries.items()} for entries in nodes]))
    assert all(report["n_valid"] == 3 for report in found["reports"])
    assert all(entries[4]["status"] in ("invalid", "kept", "rejected") for entries in nodes if 4 in entries)
    assert any(entries[4]["status"] == "invalid" for entries in nodes if 4 in entries)
    assert max(entries[2].get("staleness") or 0 for entries in nodes if 2 in entries) >= 1
