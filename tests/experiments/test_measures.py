"""The measures against plain formulas, on hand-made rounds and on real ones."""

import json
import math

import numpy as np
import pytest
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine import Robust, attacks, rules
from flwr_byzantine.adversary import AdversarialGrid, by_partition
from flwr_byzantine.experiments.measures import History, kappa_seen, shares_of_average, shares_of_report
from flwr_byzantine.experiments.recording import RecordingGrid
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.experiments.tasks.client import client_app
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.flower.codec import flat, pack, unpack
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.report import NodeReport, RoundReport

D = 7


def app():
    """Client k answers with a vector of its own and k + 1 examples."""
    made = ClientApp()

    @made.train()
    def train(message, context):
        k = context.node_config["partition-id"]
        value = np.random.default_rng(k).normal(size=D).astype(np.float32)
        metrics = MetricRecord({"num-examples": k + 1, "partition-id": k})
        return Message(RecordDict({"arrays": pack({"w": value}), "metrics": metrics}), reply_to=message)

    return made


def vectors(n):
    return np.array([np.random.default_rng(k).normal(size=D).astype(np.float32) for k in range(n)], np.float64)


def one_round(strategy, n=6, bad=(0, 1), attack=None):
    grid = LocalGrid(app(), n)
    recorder = RecordingGrid(grid if attack is None else AdversarialGrid(grid, attack, by_partition(bad), rules.Mean()), bad)
    arrays, _ = strategy.aggregate_train(
        1, recorder.send_and_receive(list(strategy.configure_train(1, pack({"w": np.zeros(D, np.float32)}), ConfigRecord(), recorder)))
    )
    return recorder, flat(arrays).astype(np.float64)


def everyone(**options):
    return FedAvg(fraction_evaluate=0.0, min_train_nodes=6, min_available_nodes=6, **options)


def test_plain_average_by_examples():
    recorder, aggregate = one_round(everyone())
    counts = np.arange(1, 7)
    np.testing.assert_allclose(aggregate, counts @ vectors(6) / counts.sum(), rtol=1e-5)
    shares = recorder.shares(None)
    assert shares.malicious_share == pytest.approx(3 / 21)
    assert (shares.malicious_kept, shares.honest_dropped) == (1.0, 0.0)


@pytest.mark.parametrize("bad", [(0, 1), (3,), ()])
def test_multi_krum_keeps_whom_the_rule_selects(bad):
    strategy = Robust(rules.MultiKrum(f=1), everyone())
    recorder, _ = one_round(strategy, bad=bad)
    selected = set(rules.MultiKrum(f=1).aggregate(vectors(6)).selected)
    honest = set(range(6)) - set(bad)
    shares = recorder.shares(strategy.reports[-1])
    assert shares.malicious_share == pytest.approx(len(selected & set(bad)) / len(selected))
    assert shares.honest_dropped == pytest.approx(len(honest - selected) / len(honest))
    if bad:
        assert shares.malicious_kept == pytest.approx(len(selected & set(bad)) / len(bad))
    else:
        assert math.isnan(shares.malicious_kept)


def test_a_huge_attack_is_dropped_by_krum_and_owns_nothing():
    strategy = Robust(rules.Krum(f=1), everyone())
    recorder, _ = one_round(strategy, bad=(0,), attack=attacks.SignFlip(scale=1e4))
    shares = recorder.shares(strategy.reports[-1])
    assert (shares.malicious_kept, shares.malicious_share, shares.honest_dropped) == (0.0, 0.0, pytest.approx(4 / 5))


def test_kappa_is_the_naive_formula_on_what_passed_the_grid():
    strategy = Robust(rules.Median(f=2), everyone())
    recorder, aggregate = one_round(strategy, bad=(4, 5), attack=attacks.IPM(epsilon=2.0))
    honest = vectors(4)
    centre = sum(honest) / 4
    expected = sum((aggregate - centre) ** 2) / (sum(sum((row - centre) ** 2) for row in honest) / 4)
    assert recorder.kappa(aggregate) == pytest.approx(expected, rel=1e-5)
    assert expected > 0.01


@pytest.mark.parametrize("rows", [[[1.0], [1.0]], [[1.0], [math.nan]]])
def test_kappa_is_nan_without_spread_or_number(rows):
    assert math.isnan(kappa_seen(np.array([2.0]), np.array(rows)))


def test_a_weighing_rule_keeps_by_weight():
    nodes = {k: NodeReport("kept", weight=weight) for k, weight in enumerate([0.1, 0.3, 0.3, 0.3])}
    shares = shares_of_report(RoundReport(1, 4, 4, 4, 1, "", True, True, nodes=nodes), {k: k for k in range(4)}, {0, 1})
    assert shares.malicious_kept == pytest.approx((0.4 + 1.0) / 2)
    assert shares.malicious_share == pytest.approx(0.4)


def test_invalid_and_failed_honest_nodes_are_dropped_ones():
    nodes = {
        0: NodeReport("kept", score=0.0, weight=1.0),
        1: NodeReport("invalid"),
        2: NodeReport("failed"),
        3: NodeReport("kept", score=1.0),
    }
    shares = shares_of_report(RoundReport(1, 4, 3, 2, 0, "", True, True, nodes=nodes), {0: 0, 1: 1, 3: 3}, {0})
    assert shares.honest_dropped == pytest.approx(2 / 3)


def test_no_examples_at_all_is_no_share():
    assert shares_of_average({0: 0.0, 1: 0.0}, {0}).malicious_share == 0.0


def test_final_is_the_mean_of_the_last_three_rounds_and_json_has_null_for_nan():
    history = History(accuracy=[0.0, 0.1, 0.2, 0.3, 0.4], malicious_kept=[1.0, math.nan], kappa_seen=[9.0, 1.0, 2.0, 3.0])
    assert history.final()["accuracy"] == pytest.approx(0.3)
    assert history.final()["malicious_kept"] == 1.0
    assert history.final()["kappa_seen"] == pytest.approx(2.0)
    assert history.final()["attack_success"] is None
    text = json.dumps(history.to_json(), allow_nan=False)
    assert json.loads(text)["malicious_kept"] == [1.0, None]
    assert json.loads(text)["attack_success"] is None


def test_replies_come_in_the_order_of_the_clients():
    shuffled = LocalGrid(app(), 5, order=lambda replies: replies[::-1])
    recorder = RecordingGrid(shuffled, ())
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=5, min_available_nodes=5)
    replies = recorder.send_and_receive(list(strategy.configure_train(1, pack({"w": np.zeros(D, np.float32)}), ConfigRecord(), recorder)))
    assert [reply.content["metrics"]["partition-id"] for reply in replies] == list(range(5))


def test_a_backdoor_succeeds_on_an_average_and_is_measured():
    task = Task(partition="gamma", gamma=1.0, num_clients=6, num_malicious=2, local_epochs=3)
    attack = attacks.get("backdoor")(share=0.5, boost=2.0)
    history, _ = federate(LocalGrid(client_app(), 6), task, None, attack, rounds=8)
    clean, _ = federate(LocalGrid(client_app(), 6), task, None, None, rounds=1)
    assert history.attack_success[0] < 0.4 < 0.8 < history.final()["attack_success"]
    assert history.final()["accuracy"] > 0.7
    assert clean.attack_success == []


def test_npy_bytes_are_flowers_own():
    values = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(3, np.int64), "c": np.zeros((0, 2))}
    ours, theirs = pack(values), ArrayRecord({name: FlowerArray(value) for name, value in values.items()})
    for name, value in values.items():
        assert ours[name].data == theirs[name].data
        assert (unpack(theirs[name].data) == value).all()
        assert unpack(theirs[name].data).dtype == value.dtype
    fortran = np.asfortranarray(values["a"])
    assert (unpack(ArrayRecord({"a": FlowerArray(fortran)})["a"].data) == fortran).all()
