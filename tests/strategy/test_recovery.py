"""Nobody is waited for: skipped rounds, silent nodes, quarantine, capped weights."""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flwr_byzantine as ours
from flwr_byzantine import InfeasibleRound, InvalidParameter
from flwr_byzantine.flower.compat import set_metadata
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.quarantine import Ledger, Quarantine
from flwr_byzantine.strategy.report import NodeReport, RoundReport
from tests.support.federation import N, client_app, start, values
from tests.support.grids import SlowGrid
from tests.support.replies import metrics, nan, spoiled


def test_a_run_that_never_aggregates_is_not_completed():
    everyone = spoiled(nan, range(1, N + 1))
    with pytest.raises(InfeasibleRound, match=r"round 3: skipped 3 rounds in a row; .*needs at least 7 valid replies, got 0"):
        ours.Krum(f=2, max_skipped_rounds=3).start(LocalGrid(client_app(), N, spoil=everyone), start(), 9)
    with pytest.raises(InfeasibleRound, match="none of 2 rounds was aggregated"):
        ours.Krum(f=2).start(LocalGrid(client_app(), N, spoil=everyone), start(), 2)


def test_capped_weighting_counts_examples_up_to_twice_the_median():
    """num-examples counts up to twice the median of the kept replies; nonsense counts as the median."""

    def loud(reply):
        claims = {1: 1e15, 2: -5, 3: float("nan"), 4: 40}
        return metrics(num_examples=claims.get(reply.metadata.src_node_id, 10))(reply)

    strategy = ours.MultiKrum(f=0, m=N, weighting="capped")
    result = strategy.start(LocalGrid(client_app(), N, spoil=loud), start(), 1)
    weights = {node: entry.weight for node, entry in strategy.reports[0].nodes.items()}
    unit = weights[5]
    assert weights[1] == weights[4] == pytest.approx(2 * unit)
    assert weights[2] == weights[3] == pytest.approx(unit)
    assert sum(weights.values()) == pytest.approx(1)
    plain = ours.MultiKrum(f=0, m=N).start(LocalGrid(client_app(), N, spoil=loud), start(), 1)
    assert np.abs(values(plain.arrays) - values(result.arrays)).max() > 0
    with pytest.raises(InvalidParameter, match="needs a rule that averages a selection"):
        ours.FedMedian(weighting="capped").start(LocalGrid(client_app(), N), start(), 1)


def timed(strategy, delays, rounds=1):
    begun = time.monotonic()
    strategy.start(SlowGrid(delays), start(), rounds)
    return time.monotonic() - begun


def test_two_hanging_clients_of_eleven_delay_a_round_by_the_grace_period_at_most():
    quick = timed(ours.Krum(f=2, grace=0.8), [0.0] * 11)
    strategy = ours.Krum(f=2, grace=0.8)
    hanging = timed(strategy, [0.0] * 9 + [None, None])
    assert hanging - quick < 0.8 + 0.6  # and the time between two looks
    assert strategy.reports[0].with_status("missing") == [10, 11]
    assert len(strategy.reports[0].with_status("kept")) == 1


def test_replies_within_the_grace_period_count_and_later_ones_are_ignored():
    strategy = ours.FedMedian(f=2, grace=1.0)
    timed(strategy, [0.0] * 9 + [0.3, 30.0])
    assert strategy.reports[0].with_status("missing") == [11]
    second = ours.FedMedian(f=2, grace=0.2)
    timed(second, [0.0] * 10 + [0.6], rounds=3)
    assert [report.n_valid for report in second.reports] == [10, 10, 10]


def test_reply_timeout_ends_a_round_without_a_quorum():
    strategy = ours.FedMedian(f=2, reply_timeout=0.5)
    assert timed(strategy, [0.0] * 6 + [None] * 5) < 5
    assert strategy.reports[0].n_valid == 6
    few = ours.FedMedian(f=2, min_valid_replies=3, grace=0.1)
    assert timed(few, [0.0] * 6 + [None] * 5) < 5


def test_a_forged_sender_is_known_by_the_message_it_answers():
    class Forging(SlowGrid):
        def pull_messages(self, message_ids):
            replies = super().pull_messages(message_ids)
            for reply in replies:
                if reply.metadata.src_node_id == 3:
                    set_metadata(reply, src_node_id=5)
                    if "arrays" in reply.content:
                        nan(reply)
            return replies

    strategy = ours.FedMedian(f=2)
    strategy.start(Forging([0.0] * 11), start(), 1)
    assert strategy.reports[0].with_status("invalid") == [3]
    assert 5 in strategy.reports[0].with_status("kept")


def test_a_message_that_could_not_be_sent_is_a_missing_reply():
    class Lossy(SlowGrid):
        def push_messages(self, messages):
            messages = list(messages)
            return [None, *super().push_messages(messages[1:])]

    strategy = ours.FedMedian(f=2)
    strategy.start(Lossy([0.0] * 11), start(), 1)
    assert (len(strategy.reports[0].with_status("missing")), strategy.reports[0].n_valid) == (1, 10)


def test_quarantine_stops_sampling_a_node_for_a_while_and_can_be_carried_over():
    strategy = ours.FedMedian(quarantine=Quarantine(threshold=1.5, rounds=2))
    strategy.start(LocalGrid(client_app(), N, spoil=spoiled(nan, (4,))), start(), 7)
    sampled = [4 in report.nodes for report in strategy.reports]
    assert sampled == [True, True, False, False, True, True, False]
    ledger = Ledger.from_json(strategy.core.policy.quarantine, strategy.core.ledger.to_json())
    assert ledger == strategy.core.ledger


def report(server_round, verdicts):
    nodes = {node: NodeReport(status) for node, status in verdicts.items()}
    return RoundReport(server_round, len(nodes), len(nodes), len(nodes), 2, "Krum(f=2)", True, True, nodes=nodes)


STATUS = st.sampled_from(["kept", "rejected", "failed", "missing"])


@given(st.lists(st.lists(STATUS, min_size=8, max_size=8), min_size=1, max_size=30))
def test_nobody_who_answers_well_is_banned_whatever_the_rule_makes_of_it(history):
    ledger = Ledger(Quarantine(threshold=1.0))
    for number, row in enumerate(history):
        assert ledger.update(report(number, dict(enumerate(row)))) == []


@given(
    st.lists(st.lists(st.sampled_from(["kept", "rejected", "invalid"]), min_size=8, max_size=8), min_size=1, max_size=30), st.integers(1, 4)
)
def test_bans_stay_within_the_limit_and_take_the_rejections_stated(history, limit):
    quarantine = Quarantine(rejected=1.0, threshold=2.5, decay=0.9, rounds=3, limit=limit)
    ledger, bad = Ledger(quarantine), dict.fromkeys(range(8), 0)
    for number, row in enumerate(history):
        asked = {node: status for node, status in enumerate(row) if ledger.allows(node, number)}
        for node, status in asked.items():
            bad[node] += status != "kept"
        for node in ledger.update(report(number, asked)):
            assert bad[node] >= 3  # 1 + 0.9 < 2.5 <= 1 + 0.9 + 0.81
            bad[node] = 0
        assert len(ledger.banned) <= limit


MEMORY = """
import io, resource, sys, threading, time
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
import flwr_byzantine as ours
from flwr_byzantine.experiments.audit.headers import SIMPLE, header
from flwr_byzantine.flower.local import LocalGrid
d, n, kind = 1_000_000, 32, sys.argv[1]
rng = np.random.default_rng(0)
strategy = ours.Krum(f=2)
first = ArrayRecord({"w": Array(np.zeros(d, np.float32))})
from flwr.clientapp import ClientApp
app = ClientApp()
@app.train()
def train(message, context):
    array = Array(rng.normal(size=d).astype(np.float32))
    if context.node_id == 7 and kind == "large":
        array = Array(np.zeros(100 * d, np.float32))
    if context.node_id == 7 and kind == "declared":
        array = Array("float32", (10**12,), "numpy.ndarray", header(SIMPLE.replace("(2, 3)", "(1000000000000,)")))
    return Message(RecordDict({"arrays": ArrayRecord({"w": array}), "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)
grid = LocalGrid(app, n)
messages = strategy.configure_train(1, first, ConfigRecord(), grid)
replies = grid.send_and_receive(messages)
small = ours.Krum(f=2)  # warm the libraries up, so that their first use does not count
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
peak, done = [0], []
def watch():
    while not done:
        peak[0] = max(peak[0], rss())
        time.sleep(0.0005)
rules_warm = ours.rules.Krum(f=2)(rng.normal(size=(32, 80000)).astype(np.float32))
before = rss()
watcher = threading.Thread(target=watch); watcher.start()
arrays, _ = strategy.aggregate_train(1, replies)
done.append(1); watcher.join()
assert arrays is not None
print((peak[0] - before) / (4 * n * d))
"""


@pytest.mark.parametrize("kind", ["honest", "large", "declared"])
def test_peak_memory_of_aggregation_is_within_a_tenth_of_the_replies(kind):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", MEMORY, kind], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) <= 0.10


def test_policies_are_checked():
    for policy, message in (
        ({"grace": -1}, "grace must be a number >= 0 or None, got -1"),
        ({"max_skipped_rounds": 0}, "max_skipped_rounds must be an integer >= 1, got 0"),
        ({"reply_timeout": 0}, "reply_timeout must be a number > 0 or None, got 0"),
        ({"resume": True}, "resume=True needs checkpoint="),
        ({"quarantine": "yes"}, "quarantine must be a Quarantine"),
        ({"weighting": "loud"}, "weighting must be one of 'uniform', 'capped'"),
    ):
        with pytest.raises(InvalidParameter, match=message):
            ours.Krum(f=1, **policy)
