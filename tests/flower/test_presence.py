"""Waiting for nodes ends in time, in both APIs: with those who are there where they are enough, else with a skipped round."""

import logging
import threading
import time
from types import SimpleNamespace

import pytest
from flwr.app import Message, MessageType, RecordDict
from flwr.common import ndarrays_to_parameters
from flwr.server import SimpleClientManager
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import strategy as flower

from flwr_byzantine import InfeasibleRound, Krum, Robust, legacy, rules
from flwr_byzantine.flower import presence
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.presence import Presence, PresentManager
from tests.support.federation import N, client_app, start
from tests.support.legacy import MODEL, proxy_of, server

ALL = {"min_available_nodes": N, "min_train_nodes": N, "fraction_evaluate": 0.0}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """A look at the nodes takes Flower a second; where it was waited for them before, two looks are enough."""
    monkeypatch.setattr(presence, "AGAIN", 0.0)
    monkeypatch.setattr("flwr.serverapp.strategy.strategy_utils.sleep", lambda seconds: time.sleep(0.01))


class Leaving(LocalGrid):
    """Its last nodes leave when so many rounds have been sent."""

    def __init__(self, after, left=1):
        super().__init__(client_app(), N)
        self.after, self.left = after, left

    def get_node_ids(self):
        return super().get_node_ids()[: N if self.after > 0 else N - self.left]

    def send_and_receive(self, messages, *, timeout=None):
        self.after -= 1
        return super().send_and_receive(messages, timeout=timeout)


class ByItself(Krum):
    """Chooses its nodes without `super()`, and wants a number of them that no attribute says."""

    least = N

    def configure_train(self, server_round, arrays, config, grid):
        while len(nodes := grid.get_node_ids()) < self.least:
            time.sleep(0.01)
        config["server-round"] = server_round
        return [Message(RecordDict({"arrays": arrays, "config": config}), node, MessageType.TRAIN) for node in nodes]


class Sub(Krum):
    def configure_train(self, server_round, arrays, config, grid):
        return flower.FedAvg.configure_train(self, server_round, arrays, config, grid)


@pytest.mark.parametrize(
    "make",
    [
        lambda **given: Krum(f=2, **ALL, **given),
        lambda **given: Robust(rules.Krum(f=2), flower.FedAdam(**ALL), **given),
        lambda **given: Sub(f=2, **ALL, **given),
    ],
    ids=["named", "wrapped", "subclass"],
)
def test_a_node_that_leaves_costs_one_wait(make, caplog):
    caplog.set_level(logging.INFO, logger="flwr")
    strategy = make(node_timeout=0.2)
    strategy.start(Leaving(after=2), start(), 6)
    assert [len(report.nodes) for report in strategy.reports] == [N] * 2 + [N - 1] * 4
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("flwr-byzantine:")]
    assert "flwr-byzantine: going on with the 10 nodes that are there after 0.2 s, 11 are wanted" in said
    below = strategy._below()
    assert (below.min_available_nodes, below.min_train_nodes) == (N, N), "the strategy below wants what it wanted"


def test_too_few_nodes_skip_rounds_and_end_the_run():
    strategy = Krum(f=4, **ALL, node_timeout=0.05, max_skipped_rounds=3)
    with pytest.raises(
        InfeasibleRound, match=r"skipped 3 rounds in a row; the last because 10 nodes are there after 0.05 s, 11 are wanted, and Krum"
    ):
        strategy.start(Leaving(after=1), start(), 9)
    assert [report.aggregated for report in strategy.reports] == [True, False, False, False]


def test_a_strategy_with_a_number_of_its_own_is_not_waited_for_either():
    strategy = ByItself(f=2, node_timeout=0.05, fraction_evaluate=0.0, max_skipped_rounds=2)
    with pytest.raises(InfeasibleRound, match="and ByItself waits for more"):
        strategy.start(Leaving(after=1), start(), 9)


def test_evaluation_goes_on_with_those_who_are_there_and_without_anybody():
    strategy = Krum(f=1, min_available_nodes=N, min_evaluate_nodes=N, node_timeout=0.05)
    result = strategy.start(Leaving(after=1), start(), 2)
    assert sorted(result.evaluate_metrics_clientapp) == [1, 2]
    nobody = Krum(f=1, min_available_nodes=1, min_train_nodes=1, min_evaluate_nodes=1, node_timeout=0.05)
    result = nobody.start(Leaving(after=1, left=N), start(), 1)
    assert len(nobody.reports) == 1
    assert result.evaluate_metrics_clientapp == {}


def test_nodes_that_come_back_are_wanted_again():
    strategy = Krum(f=2, **ALL, node_timeout=0.05)
    grid = Leaving(after=1)
    before = grid.send_and_receive

    def send_and_receive(messages, *, timeout=None):
        if len(strategy.reports) == 2:
            grid.after = 100
        return before(messages, timeout=timeout)

    grid.send_and_receive = send_and_receive
    strategy.start(grid, start(), 5)
    assert [len(report.nodes) for report in strategy.reports] == [N, N - 1, N - 1, N, N]
    assert strategy.core.presence.settled is None


def test_a_strategy_that_is_slow_and_waits_for_nobody_is_left_alone():
    class Slow(Krum):
        def configure_train(self, server_round, arrays, config, grid):
            grid.get_node_ids()
            time.sleep(0.01)
            return super().configure_train(server_round, arrays, config, grid)

    strategy = Slow(f=2, **ALL, node_timeout=60.0)
    strategy.start(LocalGrid(client_app(), N), start(), 2)
    assert [len(report.nodes) for report in strategy.reports] == [N, N]


ARGUMENTS = {"fraction_evaluate": 0.0, "min_evaluate_clients": 0, "initial_parameters": ndarrays_to_parameters(MODEL)}


class LegacySub(legacy.Krum):
    def configure_fit(self, server_round, parameters, client_manager):
        return LegacyFedAvg.configure_fit(self, server_round, parameters, client_manager)


@pytest.mark.parametrize(
    "make",
    [
        legacy.Krum,
        LegacySub,
        lambda f, node_timeout, **given: legacy.Robust(rules.Krum(f=f), LegacyFedAvg(**given), node_timeout=node_timeout),
    ],
)
def test_a_legacy_client_that_leaves_costs_one_wait(make):
    strategy = make(f=1, node_timeout=0.05, min_fit_clients=7, min_available_clients=7, **ARGUMENTS)
    running = server(strategy, n=6)
    running.fit(3, None)
    assert [len(report.nodes) for report in strategy.reports] == [6] * 3
    running.client_manager().register(proxy_of(7, True))
    assert len(strategy.configure_fit(4, ndarrays_to_parameters(MODEL), running.client_manager())) == 7


def test_too_few_legacy_clients_skip_rounds_and_end_the_run():
    strategy = legacy.Krum(f=2, node_timeout=0.05, min_fit_clients=7, min_available_clients=7, **ARGUMENTS)
    with pytest.raises(InfeasibleRound, match=r"none of 2 rounds was aggregated; the last: 6 clients are there after 0.05 s, 7 are wanted"):
        server(strategy, n=6).fit(2, None)
    assert [report.aggregated for report in strategy.reports] == [False, False]


def test_initial_parameters_are_not_waited_for_either():
    with pytest.raises(InfeasibleRound, match=r"no client has connected in 0.05 s, and the strategy has no initial_parameters"):
        server(legacy.Krum(f=1, node_timeout=0.05), n=0).fit(1, None)


def test_a_legacy_client_that_comes_in_time_is_waited_for():
    manager = SimpleClientManager()
    patient = PresentManager(manager, Presence(SimpleNamespace(node_timeout=60.0), print), lambda n: False)
    threading.Timer(0.05, manager.register, [proxy_of(1, True)]).start()
    assert [proxy.node_id for proxy in patient.sample(1)] == [1]
    assert patient.short == ""
    assert patient.wait_for(2, timeout=0) is False


def test_what_is_waited_for_is_said_now_and_then():
    said = []
    waiting = Presence(SimpleNamespace(node_timeout=60.0), lambda level, text: said.append(text))
    assert not any(waiting.over(waited, there=10, wanted=wanted) for waited, wanted in ((0.0, 11), (1.0, 11), (1.5, 11), (2.0, 10)))
    assert said == ["waiting for nodes: 10 there, 11 wanted, 59 s more"]
    assert waiting.over(60.0, there=10, wanted=11)
