"""The compose files of docs/compose: their command lines are Flower's, and their processes are a federation that only nodes can reach."""

import argparse
import re
import ssl
import subprocess
from contextlib import closing
from http.client import HTTPSConnection
from importlib.metadata import version

import pytest
import yaml
from flwr.supercore.cli.flower_superexec import _parse_args as superexec_arguments
from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink as superlink_arguments
from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode as supernode_arguments

from tests.support.compose import COMPOSE, ROOT, Composed, services
from tests.support.deployment import Federation, needs_keys, write_app

PARSERS = {"superlink": superlink_arguments, "supernode": supernode_arguments, "superexec": superexec_arguments}
NODE = {"NODE": "node-0", "SUPERLINK": "fl.example.org:8443"}
FILES = {"server.yml": {}, "node.yml": NODE}
SERVICES = [(file, service) for file, variables in FILES.items() for service in services(file, **variables)]
DOORS = {"/v1/control/list-runs": 403, "/v1/control/register-node": 403, "/v1/runtime/acquire-task": 403, "/docs": 403, "/health": 200}
TRICKS = [
    "/v1/fleet/../control/list-runs",
    "/v1/fleet/%2e%2e/control/list-runs",
    "//v1/control/list-runs",
    "/v1/control/../control/list-runs",
    "/v1/fleet/..%2fruntime/acquire-task",
    "/v1/runtime/../fleet/../runtime/acquire-task",
    "/V1/control/list-runs",
]
SERVER = """
import json
from pathlib import Path
import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp import ServerApp
from flwr_byzantine import FedTrimmedAvg

app = ServerApp()


@app.main()
def main(grid, context):
    everybody = {"min_train_nodes": 3, "min_available_nodes": 3, "fraction_evaluate": 0.0}
    strategy = FedTrimmedAvg(f=1, **everybody, checkpoint="runs/one.npz", report_path="runs/one.jsonl")
    arrays = strategy.start(grid, ArrayRecord({"w": Array(np.zeros(4))}), 2).arrays
    kept = [len(report.with_status("kept")) for report in strategy.reports]
    Path(context.run_config["results"]).write_text(json.dumps({"w": arrays["w"].numpy().tolist(), "kept": kept}))
"""
CLIENT = """
from pathlib import Path
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    bad = context.node_config["partition-id"] == 2
    assert not Path("keys/node").exists() and Path("data").is_dir()
    w = Array(message.content["arrays"]["w"].numpy() + (1e6 if bad else 1.0))
    return Message(RecordDict({"arrays": ArrayRecord({"w": w}), "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)
"""


def refused(self, message):
    """In place of an end of this process."""
    raise AssertionError(message)


@pytest.mark.parametrize(("file", "service"), [each for each in SERVICES if each[1] in PARSERS])
def test_a_service_starts_with_arguments_that_its_program_has(file, service, monkeypatch):
    monkeypatch.setattr(argparse.ArgumentParser, "error", refused)
    found = PARSERS[service]().parse_args(services(file, **FILES[file])[service]["command"])
    assert found.superexec_auth_secret_file == "keys/superexec.secret"
    assert not getattr(found, "allow_runtime_dependency_installation", False)


def test_images_are_of_the_flower_that_is_tested():
    texts = [(COMPOSE / name).read_text(encoding="utf-8") for name in (*FILES, "Dockerfile")]
    found = {match for text in texts for match in re.findall(r"FLWR_VERSION(?::-|=)([\d.]+)", text)}
    assert found == {version("flwr")}


def test_the_superlink_is_reached_by_the_operator_alone():
    server = services("server.yml")
    assert [port.startswith("127.0.0.1:") for port in server["superlink"]["ports"]] == [True]
    assert "ports" not in server["superexec"]
    networks = [yaml.safe_load((COMPOSE / name).read_text(encoding="utf-8"))["networks"]["inside"] for name in FILES]
    assert networks == [{"internal": True}] * 2


@pytest.mark.parametrize("variable", NODE)
def test_a_node_without_a_name_or_a_server_does_not_start(variable):
    with pytest.raises(KeyError, match=variable):
        services("node.yml", **{key: value for key, value in NODE.items() if key != variable})


def test_the_image_gets_all_that_a_wheel_is_built_of(tmp_path):
    lines = re.findall(r"^COPY (.+) /tmp/flwr-byzantine/(\S*)$", (COMPOSE / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    copied = {name for names, _ in lines for name in names.split()}
    assert {name for name in copied if not (ROOT / name).exists()} == set()
    assert {"pyproject.toml", "README.md", "LICENSE", "flwr_byzantine"} <= copied


def test_the_script_says_how_it_is_called():
    done = subprocess.run([COMPOSE / "keys.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "./keys.sh server NAME..." in done.stderr


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    with Composed(tmp_path_factory.mktemp("composed")) as made:
        yield made


def post(federation, port, path):
    """Status of a request by somebody who has the CA certificate and nothing else; the path is sent as it is."""
    authority = federation.folder / ("keys/ca.crt" if isinstance(federation, Composed) else "ca.crt")
    connection = HTTPSConnection("127.0.0.1", port, timeout=30, context=ssl.create_default_context(cafile=authority))
    content = {"Content-Type": "application/protobuf", "Accept": "application/protobuf"}
    with closing(connection):
        connection.request("GET" if path in ("/health", "/docs") else "POST", path, b"", content)
        return connection.getresponse().status


@needs_keys
@pytest.mark.slow
def test_a_run_on_the_compose_files_withstands_a_hostile_node(composed, tmp_path):
    run = composed.run(write_app(tmp_path / "app", SERVER, CLIENT))
    assert run.result(timeout=300) == {"w": [2.0] * 4, "kept": [2, 2]}
    assert sorted(path.name for path in (composed.folder / "runs").iterdir() if not path.name.startswith(".")) == ["one.jsonl", "one.npz"]


@needs_keys
@pytest.mark.slow
def test_a_worker_without_the_secret_gets_no_work(composed):
    assert post(composed, composed.port, "/v1/runtime/acquire-task") in (401, 403)


@needs_keys
@pytest.mark.slow
@pytest.mark.parametrize(("path", "status"), DOORS.items())
def test_the_gateway_lets_nobody_past_the_fleet_api(composed, path, status):
    if not composed.has_gateway:
        pytest.skip("needs nginx")
    assert post(composed, composed.door, path) == status


@needs_keys
@pytest.mark.slow
@pytest.mark.parametrize("path", TRICKS)
def test_no_spelling_of_a_path_gets_past_the_gateway(composed, path):
    if not composed.has_gateway:
        pytest.skip("needs nginx")
    assert post(composed, composed.door, path) in (400, 403, 404)


@needs_keys
@pytest.mark.slow
def test_without_a_gateway_strangers_are_given_work_and_register_keys(tmp_path):
    """What docs/production.md warns of; where this fails, Flower has changed, and the page is to be changed."""
    with Federation(tmp_path, nodes=0) as open_to_all:
        assert post(open_to_all, open_to_all.port, "/v1/runtime/acquire-task") == 200
        assert open_to_all.register(0)
