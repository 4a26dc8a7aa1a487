"""A run that was cut samples, draws and keeps in its wrapped strategy what it would have without the cut: both APIs."""

import logging
import random

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters
from flwr.server import SimpleClientManager
from flwr.serverapp import strategy as flower

import flwr_byzantine as ours
from flwr_byzantine import Robust, legacy, rules
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.wrapper import Delegating
from tests.support.federation import N, client_app, run, start, values
from tests.support.legacy import MODEL, one_round, proxies

SEED, DRAW = np.random.seed, np.random.rand  # of the global generator, which Flower draws from
SAMPLED = {"fraction_train": 0.5, "fraction_evaluate": 0.3, "min_available_nodes": N}


def asked(build, cuts, path, noise=None):
    """The nodes asked in each round, and the last model, of a run that is cut after these rounds; `noise` draws in between."""
    rng, evaluated = random.Random(0), []

    class Grid(LocalGrid):
        def get_node_ids(self):
            nodes = super().get_node_ids()
            rng.shuffle(nodes)  # a SuperLink names its nodes in no order
            random.random()  # Flower's heartbeats and retries draw too
            return nodes

        def send_and_receive(self, messages, *, timeout=None):
            sent = list(messages)
            evaluated.extend(message.metadata.dst_node_id for message in sent if message.metadata.message_type.startswith("eval"))
            return super().send_and_receive(sent, timeout=timeout)

    for rounds in cuts:
        random.seed(7)
        SEED(7)
        strategy = build(checkpoint=path, resume=path is not None)
        result = strategy.start(Grid(client_app(), N), start(), rounds, evaluate_fn=noise)
    return [sorted(report.nodes) for report in strategy.reports], values(result.arrays), evaluated


@pytest.mark.parametrize(
    "build",
    [
        lambda **policy: ours.FedTrimmedAvg(f=1, **SAMPLED, **policy),
        lambda **policy: Robust(rules.Median(f=1), flower.FedAdam(**SAMPLED), **policy),
    ],
)
def test_a_seeded_run_samples_the_same_nodes_whether_or_not_it_was_cut(build, tmp_path):
    def noise(server_round, arrays):
        random.random()

    nodes, model, evaluated = asked(build, (5,), None)
    again, found, seen = asked(build, (2, 3, 5), tmp_path / "run.npz", noise)
    assert nodes == again
    assert evaluated == seen
    np.testing.assert_array_equal(model, found)
    assert len({tuple(row) for row in nodes}) > 1
    assert {len(row) for row in nodes} == {5}


def test_who_seeds_python_alone_has_the_same_nodes_again():
    def nodes():
        random.seed(4)
        strategy = ours.FedMedian(**SAMPLED)
        run(strategy, 3)
        return [sorted(report.nodes) for report in strategy.reports]

    DRAW(5)  # of a generator that nobody seeds
    assert nodes() == nodes()


def test_a_node_that_comes_back_late_changes_no_sample():
    class Late(LocalGrid):
        calls = 0

        def get_node_ids(self):
            self.calls += 1
            return super().get_node_ids()[: N - (self.calls == 1)]

    strategy = ours.FedMedian(**{**SAMPLED, "fraction_train": 1.0})
    strategy.start(Late(client_app(), N), start(), 1)
    assert sorted(strategy.reports[0].nodes) == list(range(1, N + 1))


def test_a_program_s_own_generators_are_not_moved_by_sampling(tmp_path):
    random.seed(3)
    strategy = ours.FedMedian(**SAMPLED)
    run(strategy, 1)
    first = random.random()
    random.seed(3)
    run(ours.FedMedian(**SAMPLED), 4)
    assert random.random() == first


def test_generators_of_the_program_go_on_where_they_were(tmp_path):
    """Clients of a LocalGrid that draw from the global generators."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        model = {"w": Array(message.content["arrays"]["w"].numpy() + DRAW(2) + random.random())}
        return Message(RecordDict({"arrays": ArrayRecord(model), "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    def rounds(count, **policy):
        random.seed(5)
        SEED(5)
        strategy = ours.FedMedian(fraction_evaluate=0.0, min_evaluate_nodes=0, **policy)
        return strategy.start(LocalGrid(app, 5), ArrayRecord({"w": Array(np.zeros(2))}), count).arrays

    path = tmp_path / "run.npz"
    rounds(2, checkpoint=path)
    np.testing.assert_array_equal(values(rounds(4, checkpoint=path, resume=True)), values(rounds(4)))


class Manager(SimpleClientManager):
    def __init__(self, order):
        super().__init__()
        for proxy in sorted(proxies(), key=lambda proxy: (proxy.node_id * order) % 13):
            self.register(proxy)


def test_the_legacy_api_samples_the_same_nodes_whatever_the_order_in_which_they_came(tmp_path):
    parameters = ndarrays_to_parameters(MODEL)

    def nodes(strategy, number, order):
        sampled = strategy.configure_fit(number, parameters, Manager(order))
        evaluated = strategy.configure_evaluate(number, parameters, Manager(order))
        return [[proxy.node_id for proxy, _ in given] for given in (sampled, evaluated)]

    def build(**policy):
        random.seed(9)
        policy |= {"fraction_fit": 0.5, "fraction_evaluate": 0.3, "initial_parameters": parameters}
        made = legacy.FedMedian(checkpoint=tmp_path / "run.npz", **policy)
        made.initialize_parameters(Manager(1))
        return made

    whole = build()
    expected = [nodes(whole, number, 1) for number in (1, 2, 3)]
    whole.core.asked = []
    one_round(whole)
    resumed = build(resume=True)
    random.random()
    assert [nodes(resumed, number, 5) for number in (1, 2)] == expected[1:]
    assert len(expected[0][0]) == 5
    assert expected[0] != expected[1]


class Schedule:
    def __init__(self):
        self.calls = 0


class Decaying(flower.FedAvg):
    """Keeps a number, a list, a generator and an object over the rounds."""

    def __init__(self):
        super().__init__()
        self.rate, self.history, self.rng, self.schedule = 1.0, [], np.random.default_rng(0), Schedule()

    def aggregate_train(self, server_round, replies):
        self.rate *= 0.9
        self.history.append((server_round, float(self.rng.random())))
        return super().aggregate_train(server_round, replies)


def test_the_wrapped_strategy_s_numbers_lists_and_generators_are_the_run_s_and_what_is_not_saved_is_named_once(tmp_path, caplog):
    def rounds(count, **policy):
        strategy = Robust(rules.Median(f=2), Decaying(), **policy)
        run(strategy, count)
        return strategy.strategy

    whole, path = rounds(4), tmp_path / "run.npz"
    with caplog.at_level(logging.WARNING, "flwr"):
        rounds(2, checkpoint=path)
    assert caplog.text.count("not in the checkpoint: Decaying.schedule (Schedule)") == 1
    resumed = rounds(4, checkpoint=path, resume=True)
    assert (resumed.rate, resumed.history) == (whole.rate, whole.history)


class Cooling(Delegating):
    """A user's strategy over an optimiser, with a number of its own that changes from round to round."""

    def __init__(self, strategy):
        self.strategy, self.heat = strategy, 0.1

    def aggregate_train(self, server_round, replies):
        self.heat /= 2
        self.strategy.eta = self.heat
        return self.strategy.aggregate_train(server_round, replies)

    def aggregate_evaluate(self, server_round, replies):
        return self.strategy.aggregate_evaluate(server_round, replies)


def test_a_schedule_over_an_optimiser_goes_on(tmp_path):
    def rounds(count, **policy):
        SEED(1)
        cooling = Cooling(flower.FedAdam())
        random.seed(1)
        return cooling, run(Robust(rules.Median(f=2), cooling, **policy), count).arrays

    (whole, expected), path = rounds(4), tmp_path / "run.npz"
    rounds(2, checkpoint=path)
    resumed, found = rounds(4, checkpoint=path, resume=True)
    assert resumed.heat == whole.heat == 0.1 / 16
    np.testing.assert_array_equal(values(found), values(expected))
