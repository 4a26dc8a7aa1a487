"""A real federation on loopback: TLS, node authentication, five SuperNodes, one of them hostile in a new way each round."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import end_all, free_ports

BIN = Path(sys.executable).parent
HOSTILE = ("wrong shapes", "NaN", "garbage", "huge", "hang", "exit")

PYPROJECT = """
[project]
name = "deployed"
version = "1.0.0"
dependencies = []
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "deployed.server_app:app"
clientapp = "deployed.client_app:app"
[tool.flwr.app.config]
results = ""
"""
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


def shell(*command, **keywords):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **keywords)
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-1000:]}"
    return done.stdout


def certificates(folder):
    """A CA, a certificate for loopback, and a key for each node."""
    extension = folder / "san.cnf"
    extension.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    key = ("-newkey", "rsa:2048", "-nodes")
    shell("openssl", "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=tests", cwd=folder)
    shell("openssl", "req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost", cwd=folder)
    signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san.cnf")
    shell("openssl", "x509", "-req", "-in", "server.csr", "-out", "server.pem", *signing, cwd=folder)
    for node in range(5):
        shell("ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", f"node{node}", cwd=folder)


@pytest.fixture
def federation(tmp_path):
    """A SuperLink with TLS and five registered SuperNodes; everything ends with the test."""
    home, (port, *node_ports) = tmp_path / "home", free_ports(6)
    home.mkdir()
    environment = {**os.environ, "FLWR_HOME": str(home), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    certificates(tmp_path)
    link = f'[superlink]\ndefault = "dep"\n[superlink.dep]\naddress = "127.0.0.1:{port}"\nroot-certificates = "{tmp_path}/ca.crt"\n'
    (home / "config.toml").write_text(link)

    started = []

    def start(*command):
        with (tmp_path / "processes.log").open("ab") as log:
            started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True))

    tls = ("--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.pem", "--ssl-keyfile", "server.key", "--enable-supernode-auth")
    try:
        start("flower-superlink", *tls, "--host", "127.0.0.1", "--port", str(port), "--disable-runtime-dependency-installation")
        for _ in range(60):
            time.sleep(0.5)
            listing = subprocess.run(["flwr", "supernode", "list", "dep"], cwd=tmp_path, env=environment, capture_output=True, check=False)
            if listing.returncode == 0:
                break
        for node, node_port in enumerate(node_ports):
            shell("flwr", "supernode", "register", f"node{node}.pub", "dep", cwd=tmp_path, env=environment)
            place = ("--port", str(node_port), "--node-config", f"partition-id={node} num-partitions=5")
            secure = ("--root-certificates", "ca.crt", "--auth-supernode-private-key", f"node{node}")
            start("flower-supernode", "--superlink", f"127.0.0.1:{port}", *secure, *place)
        yield tmp_path, environment
    finally:
        gone = end_all(home)
        for process in started:
            process.wait(timeout=10)
        assert gone


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("ssh-keygen")), reason="needs openssl and ssh-keygen")
def test_a_real_federation_with_one_hostile_node(federation):
    folder, environment = federation
    app = folder / "app"
    (app / "deployed").mkdir(parents=True)
    for name, text in {
        "pyproject.toml": PYPROJECT,
        "deployed/__init__.py": "",
        "deployed/server_app.py": SERVER,
        "deployed/client_app.py": CLIENT,
    }.items():
        (app / name).write_text(text)
    results = folder / "out.json"
    command = ["flwr", "run", ".", "dep", "--stream", "-c", f"results='{results}'"]
    done = subprocess.run(command, cwd=app, env=environment, capture_output=True, text=True, timeout=280, check=False)
    log = (folder / "processes.log").read_text(errors="replace")
    assert results.exists(), done.stdout[-3000:] + done.stderr[-1000:] + log[-3000:]
    found = json.loads(results.read_text())
    assert found["error"] <= 0.5**7 + 1e-3
    statuses = [sorted(entry["status"] for entry in report["nodes"].values()) for report in found["reports"]]
    expected = {"wrong shapes": "invalid", "NaN": "invalid", "garbage": "invalid", "huge": "invalid", "hang": "missing"}
    for row, kind in zip(statuses, HOSTILE, strict=False):
        bad = [status for status in row if status not in ("kept", "rejected")]
        assert bad == [expected[kind]] if kind in expected else bad in (["failed"], ["missing"]), (kind, row)
    assert all(report["aggregated"] and report["n_valid"] >= 4 for report in found["reports"])
    print("seconds a round:", [round(value, 2) for value in found["seconds"]], statuses)
