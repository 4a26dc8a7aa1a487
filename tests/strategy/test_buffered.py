"""Buffered rounds on a simulated clock: what they compute, which arguments they take, and who is in a buffer."""

import math

import numpy as np
import pytest
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAdam, FedAvg

from flwr_byzantine import Buffered, InvalidParameter, RoundReport
from flwr_byzantine.theory import plan_sampling
from tests.support.buffers import FAST, GOAL, app, buffered, grid, run
from tests.support.federation import GOAL as FAR
from tests.support.federation import start, values
from tests.support.grids import SlowGrid


def fedbuff(seconds, n, size, rounds, rate=1.0, exponent=0.5):
    """FedBuff in plain loops: events in the order of time and of sending, one reply a node in a buffer, the average as the rule."""
    w, version, sent, coming, buffer = np.zeros(3), 0, 0, [], {}
    asked = {node: -1 for node in range(1, n + 1)}
    given, now = {}, 0.0
    while version < rounds:
        for node in asked:
            if asked[node] < version and node not in given:
                asked[node], given[node], sent = version, (version, w), sent + 1
                coming.append((now + seconds(node, 0), sent, node))
        coming.sort()
        now, _, node = coming.pop(0)
        old, model = given.pop(node)
        buffer[node] = (model + (GOAL - model) / 2 + node / 1000 - model, version - old)
        if len(buffer) == size:
            w = w + rate * np.mean([delta / math.sqrt(1 + age) ** (2 * exponent) for delta, age in buffer.values()], axis=0)
            version, buffer = version + 1, {}
    return w, now


@pytest.mark.parametrize(("rate", "exponent"), [(1.0, 0.5), (0.3, 0.5), (1.0, 0.0)])
def test_over_the_mean_it_is_fedbuff(rate, exponent):
    on = grid()
    found = run(buffered("mean", f=0, server_learning_rate=rate, staleness_exponent=exponent), on)
    expected, when = fedbuff(on.seconds, 12, 5, 8, rate, exponent)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert on.time == when


def test_the_same_seed_gives_the_same_run_to_the_bit():
    def once():
        strategy, on = buffered(pool=8), grid(spoil=lambda reply: None if reply.metadata.src_node_id == 4 else reply)
        return run(strategy, on).tobytes(), on.time, on.sent, [(r.nodes, r.note) for r in strategy.reports]

    assert once() == once()


def test_each_reply_counts_by_the_age_of_its_model():
    strategy = buffered()
    run(strategy, grid())
    ages = [entry.staleness for report in strategy.reports for entry in report.nodes.values()]
    assert (min(ages), max(ages) > 1) == (0, True)
    line = strategy.reports[-1].to_json()
    assert RoundReport.from_json(line) == strategy.reports[-1]
    assert {node: entry.staleness for node, entry in RoundReport.from_json(line).nodes.items()} == {
        node: entry.staleness for node, entry in strategy.reports[-1].nodes.items()
    }


def test_a_run_without_a_first_model_is_refused():
    with pytest.raises(InvalidParameter, match="give a first model"):
        buffered().start(grid(), ArrayRecord({}), 2)


def test_certificates_say_whether_the_condition_held_among_the_rows_of_the_buffer():
    strategy = buffered(certificate=True)
    run(strategy, grid())
    assert all(report.certificate is not None for report in strategy.reports)


def test_an_optimiser_of_the_server_steps_along_the_aggregate():
    strategy = buffered(below=FedAdam(**FAST, eta=0.5))
    found = run(strategy, grid(), rounds=1, dtype=np.float32)
    np.testing.assert_allclose(found, 0.366 * np.sign(GOAL), atol=0.005)  # Adam's first step has one length, whatever the aggregate's


def test_a_restart_goes_on_from_the_last_model_with_an_empty_buffer(tmp_path):
    file = tmp_path / "run"
    first = buffered(checkpoint=file)
    half = run(first, grid(), rounds=4)
    second = buffered(checkpoint=file, resume=True)
    on = grid()
    run(second, on, rounds=8)
    assert [report.server_round for report in second.reports] == list(range(1, 9))
    assert {number for _, _, number in on.sent} == {5, 6, 7, 8}
    np.testing.assert_array_equal(first.last_model["w"], half)
    assert {entry.staleness for entry in second.reports[4].nodes.values()} == {0}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_a_huge_reply_to_an_old_model_stays_a_number(dtype):
    top = min(float(np.finfo(dtype).max), 1e300)
    client = app(lambda node, number, w: np.full(3, top if number % 2 else -top, dtype) if node == 5 else (w + 1).astype(dtype))
    strategy, on = buffered("nnm+trimmed-mean", size=5, f=1), grid(client=client)
    found = run(strategy, on, rounds=12, start=[-top / 2] * 3, dtype=dtype)
    assert found.dtype == dtype
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: buffered("krum", size=4, f=1), r"needs size=5 at least, got 4"),
        (lambda: buffered(pool=4), "size=5 cannot be drawn from pool=4"),
        (lambda: buffered(num_malicious=3), "give f or num_malicious, not both"),
        (lambda: buffered(size=0), "size must be an integer >= 1"),
        (lambda: buffered(max_staleness=-1), "max_staleness must be an integer >= 0"),
        (lambda: buffered(server_learning_rate=0.0), "server_learning_rate must be a number > 0"),
        (lambda: buffered(server_learning_rate=np.inf), "server_learning_rate must be a number > 0 and < inf"),
        (lambda: buffered(staleness_exponent=np.inf), "staleness_exponent must be a number >= 0 and < inf"),
        (lambda: Buffered("trimmed-mean", 5), "Buffered: a rule by name needs num_malicious"),
        (lambda: grid(n=0), "n must be an integer >= 1, got 0"),
        (lambda: grid(enough=1.5), "TimedGrid: enough must be a number >= 0 and <= 1, got 1.5"),
        (lambda: run(buffered(), grid(seconds=lambda node, count: -1.0)), r"TimedGrid: seconds\(\d+, 1\) must be a number >= 0, got -1.0"),
        (lambda: Buffered("krum", 9, num_malicious=20), r"Krum\(f=20\) needs size=43 at least, got 9"),
        (lambda: Buffered("trimmed-mean", 5, num_malicious=3), r"TrimmedMean\(f=3\) needs size=7 at least, got 5"),
    ],
)
def test_arguments_that_cannot_be_are_refused(make, words):
    with pytest.raises(InvalidParameter, match=words):
        make()


def test_f_of_a_buffer_is_that_of_the_worst_one():
    assert [Buffered("median", size, num_malicious=10).rule_at(size).f for size in (30, 50)] == [10, 10]
    drawn = Buffered("trimmed-mean", 25, num_malicious=10, pool=40)
    assert drawn.rule_at(25).f == plan_sampling(40, 10, 25).f == 9
    drawn.core.planned = 200
    assert drawn.rule_at(25).f == plan_sampling(40, 10, 25, rounds=200).f == 10


HOSTILE = range(1, 6)


def of_hostile(strategy):
    """How many hostile nodes are in each buffer."""
    return [sum(node in HOSTILE and entry.status in ("kept", "rejected") for node, entry in r.nodes.items()) for r in strategy.reports]


def test_who_answers_at_once_is_once_in_every_buffer_and_f_bears_it():
    client = app(lambda node, number, w: w - 100 * (GOAL - w) if node in HOSTILE else w + (GOAL - w) / 2)
    strategy = Buffered("trimmed-mean", 11, FedAvg(**FAST), num_malicious=5)
    on = grid(n=25, seconds=lambda node, count: 0.001 if node in HOSTILE else 3 + node / 10, client=client)
    found = run(strategy, on, rounds=40)
    assert set(of_hostile(strategy)) == {5}
    assert strategy.reports[0].f == 5
    assert np.abs(found - GOAL).max() < 0.2  # and 1e3 or more under the mean


def test_by_lot_who_answers_at_once_is_no_more_often_in_a_buffer_than_in_a_sample():
    strategy = Buffered("trimmed-mean", 9, FedAvg(**FAST), num_malicious=5, pool=25, epsilon=0.2)
    on = grid(n=30, seconds=lambda node, count: 0.001 if node in HOSTILE else 1.0 + node / 10)
    run(strategy, on, rounds=40)
    counts = of_hostile(strategy)
    assert 1.5 < np.mean(counts) < 2.1  # 9 of 25, 5 of them hostile: 1.8 on average
    assert max(counts) <= strategy.reports[0].f == 4
    assert all(report.n_valid == 9 for report in strategy.reports)


def test_a_run_too_long_for_the_lot_is_refused_before_it_begins():
    strategy = Buffered("trimmed-mean", 9, FedAvg(**FAST), num_malicious=5, pool=25, epsilon=0.2)
    with pytest.raises(InvalidParameter, match=r"TrimmedMean\(f=5\) needs size=11 at least, got 9"):
        run(strategy, grid(n=30), rounds=4000)


def test_a_copy_is_a_strategy_of_its_own():
    import copy

    first = buffered(server_learning_rate=0.5)
    second = copy.copy(first)
    second.server_learning_rate = 1.0
    assert first.core.step.rated is first
    assert second.core.step.rated is second


def test_on_a_grid_of_flowers_replies_are_pulled_one_by_one():
    strategy = buffered(size=3)
    result = strategy.start(SlowGrid([0.0, 0.05, 0.1, 0.4, None]), start(), 4)
    assert np.abs(values(result.arrays) - FAR)[:10].max() < 0.5
    assert [report.n_valid for report in strategy.reports] == [3] * 4
    assert all(5 not in report.nodes for report in strategy.reports)  # silent, and not yet for too long
