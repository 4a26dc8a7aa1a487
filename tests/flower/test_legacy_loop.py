"""Flower's legacy loop over its own Grid: no reply ends it, holds it up, or is taken for another's."""

import time

import numpy as np
import pytest
from flwr.app import Message, MetricRecord, RecordDict
from flwr.common import Code, EvaluateRes, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import Server, SimpleClientManager

from flwr_byzantine import legacy
from flwr_byzantine.flower import compat
from tests.support.superlink import Link, http_grid, inside, upload, with_body

N, HOSTILE, VICTIM = 5, 5, 2
RECORDS = "flwr.compat.common.recorddict_compat"
FINE = Status(Code.OK, "")


def content(metadata, value):
    if metadata.message_type == "train":
        made = FitRes(FINE, ndarrays_to_parameters([np.full(1000, value, np.float32)]), 1, {"node": metadata.dst_node_id})
        return inside(RECORDS, "fitres_to_recorddict")(made, keep_input=True)
    return inside(RECORDS, "evaluateres_to_recorddict")(EvaluateRes(FINE, value, 1, {"node": metadata.dst_node_id}))


def answer(metadata, value=1.0):
    asked = Message(RecordDict(), metadata.dst_node_id, metadata.message_type)
    compat.set_metadata(asked, message_id=metadata.message_id)
    return Message(content(metadata, value), reply_to=asked)


def of_another_kind(metadata):
    reply = answer(metadata)
    reply.content = RecordDict({"metrics": MetricRecord({"num-examples": 1})})
    return upload(reply)


def without_chunks(metadata):
    outer, tree, parts = upload(answer(metadata, 9.0))
    return outer, tree, {key: None if b"ArrayChunk" in data or b"MetricRecord" in data else data for key, data in parts.items()}


TROUBLE = {
    "garbage": lambda metadata: upload(answer(metadata, 9.0), lambda parts: with_body(parts, "Message", b"\xff" * 64)),
    "records of another kind": of_another_kind,
    "a forged source": lambda metadata: upload(compat.set_metadata(answer(metadata, 9.0), src_node_id=VICTIM)),
    "an upload that never comes": without_chunks,
    "silence": lambda metadata: None,
}


def federated(trouble, **policy):
    """The strategy, its history and its model after two rounds in which the last node is trouble."""
    compat.ensure_task_identity()
    grid = http_grid(Link(lambda metadata: trouble(metadata) if metadata.dst_node_id == HOSTILE else upload(answer(metadata))))
    manager, proxy = SimpleClientManager(), inside("flwr.server.compat.grid_client_proxy", "GridClientProxy")
    for node in range(1, N + 1):
        manager.register(proxy(node, grid, 1))
    initial = ndarrays_to_parameters([np.zeros(1000, np.float32)])
    strategy = legacy.FedTrimmedAvg(f=1, min_fit_clients=N, min_evaluate_clients=N, initial_parameters=initial, **policy)
    server = Server(client_manager=manager, strategy=strategy)
    history, _ = server.fit(num_rounds=2, timeout=None)
    return strategy, history, parameters_to_ndarrays(server.parameters)[0]


@pytest.mark.parametrize("name", TROUBLE)
def test_one_node_changes_nothing_and_is_named(name):
    begun = time.monotonic()
    strategy, history, model = federated(TROUBLE[name], grace=0.3)
    assert model.tolist() == [1.0] * 1000
    assert [loss for _, loss in history.losses_distributed] == [1.0, 1.0]
    expected = "missing" if name in ("an upload that never comes", "silence") else "invalid"
    for report in strategy.reports:
        assert {node: entry.status for node, entry in report.nodes.items()} == {1: "kept", 2: "kept", 3: "kept", 4: "kept", 5: expected}
        assert report.nodes[HOSTILE].reason
    assert time.monotonic() - begun < 30


def test_a_client_that_reports_an_error_is_named():
    def failing(metadata):
        inner = inside("flwr.app", "Error")(3, "out of memory")
        asked = Message(RecordDict(), metadata.dst_node_id, metadata.message_type)
        return upload(Message(inner, reply_to=compat.set_metadata(asked, message_id=metadata.message_id)))

    strategy, _, _ = federated(failing)
    assert strategy.reports[0].nodes[HOSTILE].status == "failed"
    assert "out of memory" in strategy.reports[0].nodes[HOSTILE].reason


def test_the_initial_model_of_a_silent_client_is_not_waited_for():
    compat.ensure_task_identity()
    grid = http_grid(Link(TROUBLE["silence"]))
    manager, proxy = SimpleClientManager(), inside("flwr.server.compat.grid_client_proxy", "GridClientProxy")
    (one,) = [proxy(1, grid, 1)]
    manager.register(one)
    strategy = legacy.FedMedian(reply_timeout=0.3)
    assert strategy.initialize_parameters(manager) is None
    found = grid.send_and_receive([Message(RecordDict(), 1, "get_parameters")])
    assert [reply.has_error() for reply in found] == [True]
