"""Whom buffered rounds ask: each node once a model, late and silent ones again, and those that come and go."""

import math
from collections import Counter

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine import Buffered, InfeasibleRound, Quarantine, TimedGrid, rules
from tests.support.buffers import FAST, GOAL, app, buffered, grid, run


def test_nobody_is_twice_in_a_buffer_nor_sent_a_model_twice():
    strategy, on = buffered(), grid(seconds=lambda node, count: 0.01 * node)
    run(strategy, on)
    assert all(report.n_valid == 5 for report in strategy.reports)
    assert max(Counter((node, number) for _, node, number in on.sent).values()) == 1


def test_a_node_is_sent_the_newest_model_as_soon_as_it_has_answered():
    strategy, on = buffered(), grid()
    run(strategy, on)
    known = {(node, when) for when, node, _ in on.sent}
    assert (12, 12.0) in known  # the slowest, in the middle of a buffer
    newest = 0
    for _, _, number in on.sent:
        assert number >= newest, "an older model than was there"
        newest = number


def test_a_reply_that_is_too_old_is_dropped_and_its_node_asked_again():
    strategy, on = buffered(max_staleness=2), grid(n=8, seconds=lambda node, count: 40.0 if node == 8 else 1.0)
    run(strategy, on, rounds=60)
    entries = [report.nodes[8] for report in strategy.reports if 8 in report.nodes]
    assert {entry.status for entry in entries} == {"missing"}
    assert "more than max_staleness=2" in entries[0].reason
    assert [when for when, node, _ in on.sent if node == 8][:2] == [0.0, 40.0]


def test_a_silent_node_is_asked_again_once_the_others_have_had_their_grace():
    strategy = buffered()
    on = grid(n=8, seconds=lambda node, count: math.inf if (node, count) == (8, 1) else 2.0)
    run(strategy, on, rounds=60)
    again = [when for when, node, _ in on.sent if node == 8]
    assert again[0] == 0.0
    assert 62.0 <= again[1] <= 66.0  # 2 s for the quorum, 60 s of grace, a look every 3 s
    statuses = [report.nodes[8].status for report in strategy.reports if 8 in report.nodes]
    assert statuses[0] == "missing"
    assert "rejected" in statuses  # by the rule, since its value is the largest


def test_within_one_buffer_a_silent_node_is_asked_by_another_message():
    messages = []

    class Kept(TimedGrid):
        def send(self, sent):
            messages.extend(sent)
            super().send(sent)

    strategy = buffered()
    run(strategy, Kept(app(), 5, lambda node, count: math.inf if (node, count) == (1, 1) else 2.0), rounds=1)
    assert strategy.reports[0].n_valid == 5
    assert len({id(message) for message in messages}) == len(messages) == 6


def test_silent_nodes_cost_no_time():
    on = grid(seconds=lambda node, count: 1.0 if node <= 5 else math.inf)
    run(buffered(), on)
    assert on.time == 8.0


def test_where_fewer_work_at_a_time_a_silent_node_is_replaced():
    below = FedAvg(**FAST | {"fraction_train": 0.5})
    on = grid(n=16, seconds=lambda node, count: 1.0 if node > 2 else math.inf)
    strategy = buffered(size=4, below=below)
    run(strategy, on, rounds=30)
    for moment in sorted({when for when, _, _ in on.sent}):
        assert len([1 for when, node, _ in on.sent if when == moment]) <= 8
    assert len({node for _, node, _ in on.sent}) == 16
    assert all(report.n_valid == 4 for report in strategy.reports)


def test_nodes_leave_and_come():
    def there(node, time):
        return {1: time < 5, 2: time < 5 or time > 20}.get(node, node < 10 or time > 10)

    strategy, on = buffered(), grid(seconds=lambda node, count: 2.0, there=there)
    run(strategy, on, rounds=40)
    asked = {node: [when for when, other, _ in on.sent if other == node] for node in range(1, 13)}
    assert max(asked[1]) < 5
    assert any(when > 20 for when in asked[2])
    assert min(asked[11]) > 10
    assert all(report.aggregated for report in strategy.reports)


def test_a_buffer_that_does_not_fill_waits_for_nodes_that_come():
    strategy, on = (
        buffered(node_timeout=100.0),
        grid(n=6, seconds=lambda node, count: 1.0, there=lambda node, t: node < 4 or t < 3 or t > 50),
    )
    run(strategy, on, rounds=10)
    assert all(report.n_valid == 5 for report in strategy.reports)


def test_a_buffer_that_never_fills_is_aggregated_where_that_is_enough_for_the_rule_else_skipped():
    few = buffered(reply_timeout=50.0, size=5)
    run(few, grid(n=6, seconds=lambda node, count: 1.0 if node < 5 else math.inf), rounds=2)
    assert [report.n_valid for report in few.reports] == [4, 4]
    none = buffered("krum", size=5, f=1, reply_timeout=50.0)
    with pytest.raises(InfeasibleRound, match="needs at least 5 valid replies, got 4"):
        run(none, grid(n=6, seconds=lambda node, count: 1.0 if node < 5 else math.inf), rounds=9)
    assert [report.aggregated for report in none.reports] == [False] * 5


def test_errors_are_reported_and_asked_again_with_the_next_model():
    def reply(node, number, w):
        if node == 3 and number < 3:
            raise ValueError("out of memory")
        return np.full(3, np.nan) if node == 4 else w + 1

    strategy, on = buffered(), grid(n=7, seconds=lambda node, count: 1.0 if node in (3, 4) else 2.0, client=app(reply))
    run(strategy, on, rounds=5)
    assert [report.nodes[3].status for report in strategy.reports if 3 in report.nodes][:3] == ["failed", "failed", "kept"]
    assert {report.nodes[4].status for report in strategy.reports} == {"invalid"}


def test_quarantine_counts_buffers():
    strategy = buffered(quarantine=Quarantine(threshold=1.5, rounds=3))
    client = app(lambda node, number, w: w * np.nan if node == 4 else w + 1)
    on = grid(n=6, seconds=lambda node, count: 1.0 if node == 4 else 2.0, client=client)
    run(strategy, on, rounds=7)
    assert [report.server_round for report in strategy.reports if 4 in report.nodes] == [1, 2, 6, 7]
    assert strategy.reports[1].banned == {4: 5}


def test_detectors_know_nodes_over_buffers():
    rule = rules.chain(rules.MartingaleFilter(f=1), rules.Mean())
    strategy = Buffered(rule, 6, FedAvg(**FAST))
    client = app(lambda node, number, w: w - 50 if node == 2 else w + (GOAL - w) / 2 + node / 1000)
    found = run(strategy, grid(seconds=lambda node, count: 1.0 + node % 3, client=client), rounds=12)
    assert {entry.status for report in strategy.reports for node, entry in report.nodes.items() if node == 2} == {"rejected"}
    assert np.abs(found - GOAL).max() < 0.1
