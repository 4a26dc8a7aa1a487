"""A real federation on loopback: TLS, node authentication, five SuperNodes, one of them hostile in a new way each round."""

import pytest

from tests.support.deployment import Federation, needs_keys, write_app

HOSTILE = ("wrong shapes", "NaN", "garbage", "huge", "hang", "exit")
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
    times = []
    measure = lambda number, arrays: times.append(time.time())
    result = strategy.start(grid, ArrayRecord({"w": Array(np.zeros(1000, np.float32))}), 7, evaluate_fn=measure)
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
HOSTILE = ("wrong shapes", "NaN", "garbage", "huge", "hang", "exit", "")

@app.train()
def train(message, context):
    w = message.content["arrays"]["w"].numpy()
    reply = Array((w + (1 - w) / 2).astype(np.float32))
    kind = HOSTILE[int(message.content["config"]["server-round"]) - 1] if context.node_config["partition-id"] == 4 else ""
    if kind == "wrong shapes":
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


@pytest.mark.slow
@needs_keys
def test_a_real_federation_with_one_hostile_node(tmp_path):
    app = write_app(tmp_path / "app", SERVER, CLIENT)
    with Federation(tmp_path) as federation:
        run = federation.run(app)
        found = run.result(timeout=280)
        assert run.status() == "finished:completed"
    assert found["error"] <= 0.5**7 + 1e-3
    statuses = [sorted(entry["status"] for entry in report["nodes"].values()) for report in found["reports"]]
    expected = {"wrong shapes": "invalid", "NaN": "invalid", "garbage": "invalid", "huge": "invalid", "hang": "missing"}
    for row, kind in zip(statuses, HOSTILE, strict=False):
        bad = [status for status in row if status not in ("kept", "rejected")]
        assert bad == [expected[kind]] if kind in expected else bad in (["failed"], ["missing"]), (kind, row)
    assert all(report["aggregated"] and report["n_valid"] >= 4 for report in found["reports"])
    print("seconds a round:", [round(value, 2) for value in found["seconds"]], statuses)
