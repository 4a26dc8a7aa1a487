"""What a reply may cost before it is read, and what of a client's words is printed."""

import json

import pytest
from flwr.app import ArrayRecord, Error, Message, MetricRecord, RecordDict

import flwr_byzantine as ours
from flwr_byzantine import legacy
from flwr_byzantine.flower.compat import set_metadata
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.replies import METRICS, NAME, RECORDS, VALUES
from flwr_byzantine.flower.words import printable
from tests.support.federation import N, client_app, start
from tests.support.legacy import one_round

ODD = 4  # the node that sends it


def with_metrics(**more):
    def change(reply):
        if reply.metadata.src_node_id == ODD and not reply.has_error():
            reply.content["metrics"] = MetricRecord({**dict(reply.content["metrics"]), **more})
        return reply

    return change


def many_records(reply):
    if reply.metadata.src_node_id == ODD:
        reply.content = RecordDict({**reply.content, **{f"more {k}": ArrayRecord() for k in range(RECORDS)}})
    return reply


class Unreadable(RecordDict):
    """Content that raises when it is read, as one that does not inflate does."""

    def values(self):
        raise KeyError("does not inflate")

    items = __iter__ = __len__ = values


def raising(reply):
    """Reading it raises, in training and in evaluation."""
    if reply.metadata.src_node_id == ODD:
        reply.content = Unreadable()
    return reply


COSTLY = {
    "metrics": with_metrics(**{f"m{k}": 1 for k in range(METRICS)}),
    "name": with_metrics(**{"n" * (NAME + 1): 1.0}),
    "list": with_metrics(many=[1.0] * (VALUES + 1)),
    "records": many_records,
    "other kind": raising,
}


@pytest.mark.parametrize("kind", COSTLY)
def test_a_reply_that_would_cost_too_much_or_cannot_be_read_is_invalid_and_counts_in_no_metric(kind):
    built = ours.FedTrimmedAvg(f=2)
    result = built.start(LocalGrid(client_app(), N, spoil=COSTLY[kind]), start(), 2)
    assert [report.with_status("invalid") for report in built.reports] == [[ODD], [ODD]]
    assert all(len(report.nodes[ODD].reason) <= 200 for report in built.reports)
    assert set(dict(result.train_metrics_clientapp[2])) == {"loss"}
    assert dict(result.evaluate_metrics_clientapp[2]) == {"accuracy": 0.5}


@pytest.mark.parametrize(
    "odd", [{f"m{k}": 1.0 for k in range(METRICS + 1)}, {7: 1.0}, {"n" * (NAME + 1): 1.0}], ids=["many", "no name", "long"]
)
def test_the_legacy_api_reads_no_more_metrics_either(odd):
    built = legacy.FedMedian()
    one_round(built, metrics=lambda node: odd if node == ODD else {"loss": 1.0})
    assert built.reports[0].with_status("invalid") == [ODD]


def test_a_clients_words_are_one_short_line_that_keeps_its_end(tmp_path, caplog):
    words = "Traceback\n" + "boilerplate " * 100_000 + "\x1b[2Jround 9: Krum() kept 11 of 11 nodes\nValueError: the cause"

    def complain(reply):
        bad = Message(Error(1, words), reply_to=reply)
        return set_metadata(bad, src_node_id=ODD) if reply.metadata.src_node_id == ODD else reply

    built = ours.Krum(f=2, report_path=tmp_path / "rounds.jsonl")
    with caplog.at_level(0, logger="flwr"):
        built.start(LocalGrid(client_app(), N, spoil=complain), start(), 1)
    reason = built.reports[0].nodes[ODD].reason
    assert reason.startswith("the client reported an error: Traceback")
    assert reason.endswith("ValueError: the cause")
    assert len(reason) <= 200
    assert reason.isprintable()
    ours_said = [record for record in caplog.records if "flwr-byzantine" in record.getMessage()]
    assert all(len(record.getMessage()) < 400 and record.getMessage().isprintable() for record in ours_said)
    named = [
        (record.levelname, record.getMessage().split("node")[0]) for record in ours_said if f"node {ODD} failed" in record.getMessage()
    ]
    assert named == [("WARNING", "flwr-byzantine: round 1: "), ("WARNING", "flwr-byzantine: round 1, evaluation: ")]
    assert len((tmp_path / "rounds.jsonl").read_text()) < 5_000
    assert json.loads((tmp_path / "rounds.jsonl").read_text())["nodes"][str(ODD)]["reason"] == reason


@pytest.mark.parametrize("text", ["", "plain", "é", "\t", "\u202e", "\r\n", "\x00"])
def test_printable_words_are_one_line_and_the_same_again(text):
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
