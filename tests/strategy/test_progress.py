"""How a run ends in which no round was aggregated: in both APIs, resumed, in loops of others, and in Flower's workflows."""

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, RecordDict
from flwr.server import LegacyContext, ServerConfig
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import strategy as flower

from flwr_byzantine import InfeasibleRound, InvalidParameter, Krum, Robust, legacy, rules
from flwr_byzantine.flower.local import LocalGrid
from tests.support.federation import N, start, values
from tests.support.grids import quiet
from tests.support.legacy import ARGUMENTS, server


def test_a_second_run_counts_from_one_and_must_make_progress_of_its_own():
    asked = []
    strategy = Krum(f=1, fraction_evaluate=0.0, reply_timeout=lambda number: asked.append(number))
    strategy.start(quiet(), start(), 2)
    strategy.start(quiet(), start(), 2)
    assert asked == [report.server_round for report in strategy.reports] == [1, 2, 1, 2]
    with pytest.raises(InfeasibleRound, match="none of 2 rounds was aggregated"):
        strategy.start(quiet(*range(1, N)), start(), 2)
    assert len(strategy.reports) == 6


def test_a_resumed_run_must_make_progress_of_its_own(tmp_path):
    given = {"fraction_evaluate": 0.0, "checkpoint": tmp_path / "run", "resume": True}
    Krum(f=1, **given).start(quiet(), start(), 1)
    again = Krum(f=1, **given)
    with pytest.raises(InfeasibleRound, match="none of 2 rounds was aggregated"):
        again.start(quiet(*range(1, N)), start(), 3)
    assert [report.server_round for report in again.reports] == [1, 2, 3]


class OwnLoop(Krum):
    """A strategy whose `start` is the user's own."""

    def start(self, grid, arrays, rounds):
        for number in range(1, rounds + 1):
            self.aggregate_train(number, grid.send_and_receive(self.configure_train(number, arrays, ConfigRecord(), grid)))


def test_a_start_of_the_users_own_does_not_end_completed_either():
    with pytest.raises(InfeasibleRound, match="none of 2 rounds was aggregated; the last: Krum"):
        OwnLoop(f=1).start(quiet(*range(1, N)), start(), 2)
    OwnLoop(f=1).start(quiet(), start(), 2)


def test_inside_another_strategys_loop_the_last_round_raises():
    inner = Robust(rules.Krum(f=2))
    outer = flower.DifferentialPrivacyServerSideFixedClipping(inner, noise_multiplier=0.1, clipping_norm=1.0, num_sampled_clients=N)
    with pytest.raises(InfeasibleRound, match="none of 2 rounds was aggregated"):
        outer.start(quiet(*range(1, N)), start(), 2)


def test_a_loop_outside_of_any_strategy_can_ask():
    strategy, grid = Krum(f=1), quiet(*range(1, N))
    for number in (1, 2):
        strategy.aggregate_train(number, grid.send_and_receive(strategy.configure_train(number, start(), ConfigRecord(), grid)))
    with pytest.raises(InfeasibleRound, match="none of 2 rounds was aggregated"):
        strategy.require_progress()


def test_a_legacy_run_shorter_than_five_rounds_does_not_end_completed_untouched():
    strategy = legacy.Krum(f=2, **ARGUMENTS)
    with pytest.raises(InfeasibleRound, match="none of 2 rounds was aggregated; the last: Krum"):
        server(strategy, silent=(1,)).fit(2, None)
    done = legacy.Krum(f=2, **ARGUMENTS)
    server(done).fit(2, None)
    assert [report.aggregated for report in done.reports] == [True, True]


@pytest.fixture
def _no_thread_left(monkeypatch):
    """Flower's thread that looks for nodes goes on where its workflow raises; here it is stopped."""
    names, begun = DefaultWorkflow.__call__.__globals__, []
    begin = names["start_update_client_manager_thread"]
    monkeypatch.setitem(names, "start_update_client_manager_thread", lambda *given: begun.append(begin(*given)) or begun[-1])
    yield
    for thread, stop, _ in begun:
        stop.set()
        thread.join()


@pytest.mark.usefixtures("_no_thread_left")
def test_a_legacy_workflow_too():
    context = Context(1, 0, {}, RecordDict(), {})
    strategy = legacy.Krum(f=5, **ARGUMENTS)
    grid = LocalGrid(None, N, spoil=lambda reply: None)
    with pytest.raises(InfeasibleRound, match="none of 2 rounds was aggregated"):
        DefaultWorkflow()(grid, LegacyContext(context, ServerConfig(num_rounds=2), strategy))


@pytest.mark.usefixtures("_no_thread_left")
@pytest.mark.parametrize("workflow", [SecAggPlusWorkflow(3, 2), type("Mine", (SecAggPlusWorkflow,), {})(3, 2)])
def test_secure_aggregation_is_refused_before_any_client_trains(workflow):
    context = Context(1, 0, {}, RecordDict(), {})
    grid = LocalGrid(None, N)
    with pytest.raises(InvalidParameter, match=r"secure aggregation .*SecAgg\+"):
        DefaultWorkflow(workflow)(grid, LegacyContext(context, ServerConfig(num_rounds=1), legacy.FedMedian(f=1, **ARGUMENTS)))


def test_a_run_that_only_evaluates_is_no_failure():
    strategy = Krum(f=1, fraction_train=0.0, min_train_nodes=0)
    result = strategy.start(quiet(), start(), 2)
    assert strategy.reports == []
    assert len(result.evaluate_metrics_clientapp) == 2
    assert np.isfinite(values(start())).all()
