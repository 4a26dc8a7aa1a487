"""Replies under the Message API: malformed, odd, missing, too few, in any order; each is dropped and named, or changes nothing."""

import io

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import given, settings
from hypothesis import strategies as st

import flwr_byzantine as ours
from flwr_byzantine import InfeasibleRound
from flwr_byzantine.experiments.audit.battery import npy
from flwr_byzantine.experiments.audit.headers import SIMPLE, header
from flwr_byzantine.flower.compat import set_metadata
from flwr_byzantine.flower.local import LocalGrid
from tests.support.federation import F, N, check_model, client_app, federate, start, values
from tests.support.replies import arrays, metrics, payload, spoiled


def as_error(reply):
    return set_metadata(Message(Error(1, "out of memory"), reply_to=reply), src_node_id=reply.metadata.src_node_id)


MALFORMED = {
    "renamed key": arrays(lambda r: ArrayRecord({("v" if k == "w" else k): a for k, a in r.items()})),
    "missing key": arrays(lambda r: ArrayRecord({"w": r["w"]})),
    "extra key": arrays(lambda r: ArrayRecord({**dict(r), "x": r["w"]})),
    "empty record": arrays(lambda r: ArrayRecord()),
    "other shape": payload(lambda _: npy(np.zeros((3, 2), np.float32))),
    "one value": payload(lambda _: npy(np.zeros((1,), np.float32))),
    "scalar": payload(lambda _: npy(np.float32(1))),
    "nan": payload(lambda _: npy(np.full((2, 3), np.nan, np.float32))),
    "one infinity": payload(lambda _: npy(np.array([[0, 0, 0], [0, 0, np.inf]], np.float32))),
    "overflowing float64": payload(lambda _: npy(np.full((2, 3), 1e300))),
    "integers that are no float32": payload(lambda _: npy(np.full((2, 3), 2**24 + 1, np.int64))),
    "bools": payload(lambda _: npy(np.ones((2, 3), bool))),
    "complex": payload(lambda _: npy(np.ones((2, 3), np.complex64))),
    "strings": payload(lambda _: npy(np.full((2, 3), "a"))),
    "objects": payload(lambda _: npy(np.full((2, 3), None, object))),
    "dates": payload(lambda _: npy(np.zeros((2, 3), "datetime64[s]"))),
    "structured": payload(lambda _: npy(np.zeros((2, 3), [("a", "f4")]))),
    "garbage": payload(lambda _: b"garbage"),
    "no bytes": payload(lambda _: b""),
    "truncated": payload(lambda data: data[:-3]),
    "trailing bytes": payload(lambda data: data + b"123"),
    "10^12 elements": payload(lambda _: header(SIMPLE.replace("(2, 3)", "(1000000000000,)"))),
    "negative shape": payload(lambda _: header(SIMPLE.replace("(2, 3)", "(-2, 3)"))),
    "overflowing shape": payload(lambda _: header(SIMPLE.replace("(2, 3)", "(1099511627776, 1099511627776)"))),
    "huge header": payload(lambda _: b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b"{"),
    "a hundred times too large": payload(lambda _: npy(np.zeros(100_000, np.float32))),
}


@pytest.mark.parametrize("kind", MALFORMED)
@pytest.mark.parametrize("nodes", [(1,), (6,), (10, 11)])
def test_malformed_replies_are_dropped_and_named(kind, nodes):
    strategy = ours.FedTrimmedAvg(f=F)
    check_model(federate(strategy, spoil=spoiled(MALFORMED[kind], nodes)))
    for report in strategy.reports:
        assert report.with_status("invalid") == list(nodes)
        assert report.n_valid == N - len(nodes)
        assert all(len(report.nodes[node].reason) > 10 for node in nodes)


HARMLESS = {
    "keys in another order": arrays(lambda r: ArrayRecord(dict(reversed(list(r.items()))))),
    "float64": payload(lambda data: npy(np.load(io.BytesIO(data)).astype(np.float64))),
    "float16": payload(lambda data: npy(np.load(io.BytesIO(data)).astype(np.float16))),
    "big-endian": payload(lambda data: npy(np.load(io.BytesIO(data)).astype(">f4"))),
    "Fortran order": payload(lambda data: npy(np.asfortranarray(np.load(io.BytesIO(data))))),
    "num-examples 1e308": metrics(num_examples=1e308),
    "num-examples NaN": metrics(num_examples=float("nan")),
    "num-examples -10": metrics(num_examples=-10),
    "num-examples a list": metrics(num_examples=[1, 2]),
    "metric a list": metrics(loss=[1.0, 2.0]),
    "metric NaN": metrics(loss=float("nan")),
    "metric 10^400": metrics(loss=10**18),
    "extra metric": metrics(extra=1.0),
    "no metrics": lambda reply: [reply.content.pop("metrics"), reply][1],
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_odd_but_readable_replies_change_nothing(kind):
    strategy = ours.MultiKrum(f=F, m=5)
    result = strategy.start(LocalGrid(client_app(), N, spoil=spoiled(HARMLESS[kind])), start(), 8)
    check_model(result.arrays)
    assert not any(report.with_status("invalid") for report in strategy.reports)
    assert all(dict(record)["loss"] == 1.0 and "extra" not in record for record in result.train_metrics_clientapp.values())


def test_layers_are_matched_by_name():
    """The attack that Flower's Krum selects: the same keys in another order, values exchanged to the honest mean."""
    pair = {"a": np.zeros(3, np.float32), "b": np.zeros(3, np.float32)}
    app = ClientApp()

    @app.train()
    def train(message, context):
        new = {"a": Array(np.ones(3, np.float32)), "b": Array(np.full(3, -1, np.float32))}
        if context.node_id == 1:
            new = {"b": new["a"], "a": new["b"]}
        return Message(RecordDict({"arrays": ArrayRecord(new), "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    strategy = ours.Krum(f=1, fraction_evaluate=0.0)
    result = strategy.start(LocalGrid(app, 7), ArrayRecord({k: Array(v) for k, v in pair.items()}), 1).arrays
    assert list(result) == ["a", "b"]
    assert result["a"].numpy().tolist() == [1, 1, 1]


def test_errors_and_missing_replies_are_reported():
    strategy = ours.Krum(f=1)
    federate(strategy, 1, spoil=lambda reply: {4: as_error(reply), 5: None}.get(reply.metadata.src_node_id, reply))
    report = strategy.reports[0]
    assert report.nodes[4].status == "failed"
    assert "out of memory" in report.nodes[4].reason
    assert report.nodes[5].status == "missing"
    assert (report.n_sampled, report.n_replied, report.n_valid) == (11, 10, 9)
    assert report.with_status("kept")
    assert report.f == 1


def test_too_few_replies_skip_or_raise():
    strategy = ours.Bulyan(num_malicious_nodes=3)
    arrays_, _ = _one_round(strategy)
    assert arrays_ is None
    assert not strategy.reports[0].feasible
    assert "needs at least 15 valid replies, got 11; the model stays as it was" in strategy.reports[0].note
    with pytest.raises(InfeasibleRound, match="needs at least 15 valid replies, got 11"):
        _one_round(ours.Bulyan(num_malicious_nodes=3, on_infeasible="error"))


def _one_round(strategy, **grid):
    local = LocalGrid(client_app(), N, **grid)
    from flwr.app import ConfigRecord

    replies = local.send_and_receive(strategy.configure_train(1, start(), ConfigRecord(), local))
    return strategy.aggregate_train(1, replies)


def test_f_falls_only_where_it_must_and_the_report_says_so():
    """THEORY §5: n = 11, f = 4 is just enough for Krum; with 2 invalid replies f = 2 holds if honest replies are well formed."""
    strategy = ours.Krum(f=4)
    result, _ = _one_round(strategy, spoil=spoiled(MALFORMED["nan"], (1, 2)))
    assert result is not None
    assert strategy.reports[0].f == 2
    assert "rests on the 2 invalid replies being Byzantine" in strategy.reports[0].note
    roomy = ours.Krum(f=2)
    _one_round(roomy, spoil=spoiled(MALFORMED["nan"], (1, 2)))
    assert (roomy.reports[0].f, roomy.reports[0].note) == (2, "")


@settings(max_examples=20)
@given(order=st.permutations(range(N)))
def test_order_of_arrival_does_not_change_a_bit(order):
    for make in (lambda: ours.MultiKrum(f=F, m=4), lambda: ours.FedMedian()):
        expected, _ = _one_round(make())
        shuffled, _ = _one_round(make(), order=lambda replies: [replies[i] for i in order])
        np.testing.assert_array_equal(values(shuffled), values(expected))
