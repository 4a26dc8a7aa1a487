"""Grids on which a pull raises, hangs or gives what is no reply, and apps that answer with nothing: whose fault it is."""

import threading
import time

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

import flwr_byzantine as ours
from flwr_byzantine.flower.exchange import Unreadable
from flwr_byzantine.flower.grids import wait_for_all
from flwr_byzantine.flower.local import LocalGrid
from tests.support.federation import N, client_app, start
from tests.support.grids import HOSTILE, SlowGrid


class Odd(SlowGrid):
    """A user's Grid on which node 3 is trouble."""

    def __init__(self, trouble):
        super().__init__([0.0] * N)
        self.trouble, self.keys = trouble, {}

    def push_messages(self, messages):
        messages = list(messages)
        ids = super().push_messages(messages)
        self.keys.update(zip(ids, (message.metadata.dst_node_id for message in messages), strict=True))
        return ids

    def pull_messages(self, message_ids):
        if any(self.keys[key] == HOSTILE for key in message_ids):
            return self.trouble()
        return super().pull_messages(message_ids)


def raises():
    raise RecursionError("a reply nested deeply")


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (raises, "content that raises RecursionError: a reply nested deeply"),
        (lambda: ["nonsense"], "expected a reply, got a str"),
        (lambda: [None], "expected a reply, got a NoneType"),
    ],
)
def test_what_a_pull_raises_or_gives_is_that_nodes_fault_alone(trouble, reason):
    strategy = ours.FedTrimmedAvg(f=2, grace=5.0, min_train_nodes=N)
    result = strategy.start(Odd(trouble), start(), 2)
    for report in strategy.reports:
        assert report.with_status("invalid") == [HOSTILE]
        assert reason in report.nodes[HOSTILE].reason
        assert report.n_valid == N - 1
    assert result.evaluate_metrics_clientapp[2]["accuracy"] == 0.5


def test_a_pull_that_hangs_holds_up_nobody():
    gate = threading.Event()
    strategy = ours.FedTrimmedAvg(f=2, grace=0.5, min_train_nodes=N, fraction_evaluate=0.0)
    begun = time.monotonic()
    try:
        strategy.start(Odd(lambda: gate.wait(60) and []), start(), 1)
    finally:
        gate.set()
    assert time.monotonic() - begun < 30
    assert strategy.reports[0].with_status("missing") == [HOSTILE]


def test_an_app_that_answers_with_no_message_is_a_failure_of_its_node():
    class Strange:
        def __call__(self, message, context):
            return "done"

    (reply,) = LocalGrid(Strange(), 1).send_and_receive([Message(RecordDict(), 1, "train")])
    assert reply.has_error()
    assert not isinstance(reply.error, Unreadable)


def test_waiting_for_all_takes_what_comes_within_the_time():
    assert issubclass(SlowGrid, Grid)
    sent = [Message(RecordDict({"arrays": start(), "config": ConfigRecord({"server-round": 1})}), node, "train") for node in (1, 2, 3)]
    replies = wait_for_all(SlowGrid([0.0, 0.0, None]), sent, 1.0)
    assert sorted(reply.metadata.src_node_id for reply in replies) == [1, 2]


def test_replies_that_have_come_are_taken_even_when_the_quorum_ends_the_wait_at_once():
    """Eleven replies lie there; after the first valid one no more time is given."""
    for _ in range(3):
        strategy = ours.FedTrimmedAvg(f=2, grace=0.0, min_valid_replies=1, min_train_nodes=N, fraction_evaluate=0.0)
        strategy.start(SlowGrid([0.0] * N), start(), 1)
        assert strategy.reports[0].n_valid == N


def test_a_grid_may_give_what_is_no_reply(caplog):
    class Odd(LocalGrid):
        def send_and_receive(self, messages, *, timeout=None):
            return [None, "nonsense", *super().send_and_receive(messages, timeout=timeout)]

    strategy = ours.FedTrimmedAvg(f=2, min_train_nodes=N)
    strategy.start(Odd(client_app(), N), start(), 1)
    assert strategy.reports[0].n_valid == N
    assert "a reply that is a NoneType is left out" in caplog.text


def test_a_superlink_that_is_gone_is_no_nodes_fault():
    from tests.support.superlink import Link, http_grid, reply_to, upload

    class Gone(Link):
        def PullObject(self, request):
            raise ConnectionError("the SuperLink is gone")

    grid = http_grid(Gone(lambda metadata: upload(reply_to(metadata))))
    grid.get_node_ids = lambda: range(1, N + 1)
    strategy = ours.FedTrimmedAvg(f=2, min_train_nodes=N)
    with pytest.raises(ConnectionError, match="is gone"):
        strategy.start(grid, ArrayRecord({"w": Array(np.zeros(1000, np.float32))}), 1)
    assert strategy.reports == []
