"""Mutated replies, thousands in the slow tier: each is aggregated within the honest hull's tolerance, or dropped with a reason."""

import os

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

import flwr_byzantine as ours
from flwr_byzantine.experiments.audit.battery import npy
from flwr_byzantine.flower.compat import set_metadata
from flwr_byzantine.flower.local import LocalGrid
from tests.support.federation import GOAL, N, client_app, start, values

CASES = [200, pytest.param(1_000, marks=pytest.mark.slow)]  # of each rule
if os.environ.get("FLWR_BYZANTINE_FUZZ"):  # a longer run: FLWR_BYZANTINE_FUZZ=1 pytest tests/flower/test_fuzz.py
    CASES = [33_333]
NAMES = ["w", "b", "n"]  # in the order of the model
floats = st.floats(allow_nan=True, allow_infinity=True, width=64)


@st.composite
def byte_level(draw):
    """Flip, cut, insert or repeat bytes of one array."""
    position, kind, data = draw(st.floats(0, 1)), draw(st.sampled_from(["flip", "cut", "insert", "repeat"])), draw(st.binary(max_size=40))

    def change(record, name):
        old = record[name].data
        at = int(position * len(old))
        new = {
            "flip": old[:at] + bytes(255 - byte for byte in old[at : at + 4]) + old[at + 4 :],
            "cut": old[:at],
            "insert": old[:at] + data + old[at:],
            "repeat": old + old[at:],
        }[kind]
        record[name] = Array("float32", (2, 3), "numpy.ndarray", new)

    return change


@st.composite
def value_level(draw):
    """Another shape, type or value."""
    shape = draw(st.sampled_from([(2, 3), (3, 2), (6,), (), (0,), (4,), (1, 2, 3)]))
    dtype = draw(st.sampled_from(["f2", "f4", "f8", ">f4", "i1", "i8", "u2", "c8", "?", "U3", "M8[s]", "O"]))
    number = draw(floats)

    def change(record, name):
        with np.errstate(all="ignore"):
            value = np.full(shape, number).astype(dtype) if dtype not in ("M8[s]", "U3", "O") else np.zeros(shape, dtype)
        record[name] = Array("float32", (2, 3), "numpy.ndarray", npy(value))

    return change


@st.composite
def metadata_level(draw):
    """Lies in what Flower stores beside the bytes."""
    dtype, stype = draw(st.text(max_size=8)), draw(st.sampled_from(["numpy.ndarray", "torch.Tensor", "", "x"]))
    shape = tuple(draw(st.lists(st.integers(0, 2**62), max_size=3)))

    def change(record, name):
        record[name] = Array(dtype, shape, stype, record[name].data)

    return change


@st.composite
def record_level(draw):
    """Arrays renamed, dropped, doubled or exchanged."""
    kind, text = draw(st.sampled_from(["rename", "drop", "double", "exchange"])), draw(st.text(min_size=1, max_size=5))

    def change(record, name):
        if kind == "exchange":
            record["w"], record["b"] = record["b"], record["w"]
        elif kind == "double":
            record[text] = record[name]
        else:
            array = record.pop(name)
            if kind == "rename":
                record[text] = array

    return change


WHERE = st.sampled_from([(1,), (5, 6), (11,)])
scalar = st.one_of(st.integers(-(2**63), 2**63 - 1), floats)
claims = st.dictionaries(st.sampled_from(["num-examples", "loss", "x"]), st.one_of(scalar, st.lists(st.floats(), max_size=3)), max_size=3)
changes = st.lists(st.one_of(byte_level(), value_level(), metadata_level(), record_level()), max_size=3)
content = st.sampled_from(["one", "one", "one", "one", "two arrays", "no arrays", "two metrics", "no metrics", "config", "error"])


def mutated(reply, edits, names, metrics, kind):
    """The reply after the edits, as a message of its own."""
    record = dict(reply.content["arrays"])
    for edit, name in zip(edits, names, strict=False):
        if name in record and "w" in record and "b" in record:
            edit(record, name)
    if kind == "error":
        return set_metadata(Message(Error(3, "gone"), reply_to=reply), src_node_id=reply.metadata.src_node_id)
    arrays = {"arrays": ArrayRecord(record)} if kind != "no arrays" else {}
    arrays |= {"more": ArrayRecord(record)} if kind == "two arrays" else {}
    said = {} if kind == "no metrics" else {"metrics": MetricRecord({**dict(reply.content["metrics"]), **metrics})}
    said |= {"again": MetricRecord({"x": 1})} if kind == "two metrics" else {}
    reply.content = RecordDict({**arrays, **said, **({"config": ConfigRecord({"a": "b"})} if kind == "config" else {})})
    return reply


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize("name", ["Krum", "FedTrimmedAvg", "GeometricMedian"])
def test_a_mutated_reply_is_aggregated_within_the_honest_hull_or_dropped_with_a_reason(name, cases):
    make = {
        "Krum": lambda: ours.Krum(f=2),
        "FedTrimmedAvg": lambda: ours.FedTrimmedAvg(f=2),
        "GeometricMedian": lambda: ours.GeometricMedian(f=2),
    }[name]

    @settings(max_examples=cases)
    @given(edits=changes, names=st.lists(st.sampled_from(NAMES), min_size=3, max_size=3), said=claims, kind=content, nodes=WHERE)
    def check(edits, names, said, kind, nodes):
        strategy = make()
        grid = LocalGrid(
            client_app(), N, spoil=lambda reply: mutated(reply, edits, names, said, kind) if reply.metadata.src_node_id in nodes else reply
        )
        replies = grid.send_and_receive(strategy.configure_train(1, start(), ConfigRecord(), grid))
        arrays, metrics = strategy.aggregate_train(1, replies)
        assert list(arrays) == NAMES
        assert [array.numpy().dtype for array in arrays.values()] == DTYPES
        assert np.abs(values(arrays)[:-1] - GOAL[:-1] / 2).max() < 0.1
        assert all(np.isfinite(value).all() for value in metrics.values() if not isinstance(value, list))
        (report,) = strategy.reports
        assert len(report.nodes) == N
        assert all(report.nodes[node].reason for node in (*report.with_status("invalid"), *report.with_status("failed")))
        assert set(report.with_status("invalid") + report.with_status("failed")) <= set(nodes)

    check()


DTYPES = [np.dtype(np.float32), np.dtype(np.float32), np.dtype(np.int64)]
