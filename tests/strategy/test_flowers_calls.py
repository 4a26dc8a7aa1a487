"""Flower's own calls are answered as Flower's strategies do: without a broadcast, with failures, with metrics functions, in both APIs."""

from unittest.mock import MagicMock, Mock

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import strategy as legacy_flower
from flwr.serverapp import strategy as flower

import flwr_byzantine as ours
from flwr_byzantine import InfeasibleRound, Robust, legacy, rules
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.quarantine import Quarantine
from tests.support.federation import F, N, client_app, start
from tests.support.grids import SlowGrid
from tests.support.legacy import MODEL, OK, Clients, one_round, proxies
from tests.support.replies import nonsense, reply_of


@pytest.mark.parametrize("node", [None, 0], ids=["no sender", "one sender"])
def test_without_a_broadcast_the_majoritys_form_is_the_models(node):
    """Names, shapes and dtypes that more than half of the replies have; measured from zero."""
    rows = [np.full(3, value, np.float32) for value in (1.0, 2.0, 3.0, 90.0)]
    odd = [np.zeros((2, 2)), np.zeros(3, np.complex64)]
    built = ours.FedMedian()
    found, _ = built.aggregate_train(1, [reply_of([row], node) for row in (*rows[:2], *odd, *rows[2:], np.full(3, 2.5, np.float32))])
    (value,) = found.to_numpy_ndarrays()
    assert value.tolist() == [2.5] * 3
    assert value.dtype == np.float32
    assert [built.reports[0].n_valid, len(built.reports[0].with_status("invalid"))] == [5, 2]


def test_without_a_broadcast_and_without_a_majority_the_round_is_skipped():
    built = ours.FedMedian()
    assert built.aggregate_train(1, [reply_of([np.zeros(size)]) for size in (1, 2, 3)]) == (None, None)
    assert "no model" not in built.reports[0].note
    assert all("most replies share" in entry.reason for entry in built.reports[0].nodes.values())


def test_the_legacy_api_aggregates_without_a_broadcast_too():
    """Client ids that are no numbers are told apart by all of their letters."""
    results = []
    for name, value in (("hospital-a", 1.0), ("hospital-b", 2.0), ("hospital-c", 9.0)):
        proxy = MagicMock(spec=["cid"])
        proxy.cid = name
        results.append((proxy, FitRes(Status(Code.OK, ""), ndarrays_to_parameters([np.full(2, value)]), 1, {})))
    found, _ = legacy.FedMedian().aggregate_fit(1, results, [])
    assert parameters_to_ndarrays(found)[0].tolist() == [2.0, 2.0]


def test_the_wrapped_strategys_metrics_function_is_its_own_again_after_each_round():
    def count(contents, key):
        return MetricRecord({"clients": len(contents)})

    inner = flower.FedAvg(train_metrics_aggr_fn=count)
    result = Robust(rules.Krum(f=F), inner).start(LocalGrid(client_app(), N), start(), 2)
    assert inner.train_metrics_aggr_fn is count
    assert result.train_metrics_clientapp[2]["clients"] == N


def test_the_legacy_api_asks_no_node_in_quarantine_to_evaluate():
    built = legacy.FedMedian(quarantine=Quarantine(threshold=1.0, rounds=3), fraction_evaluate=1.0)
    one_round(built, lambda node, tensors: tensors[:1] if node == 3 else tensors)
    parameters = ndarrays_to_parameters(MODEL)
    assert 3 not in [proxy.node_id for proxy, _ in built.configure_fit(2, parameters, Clients())]
    assert [proxy.node_id for proxy, _ in built.configure_evaluate(2, parameters, Clients())] == [1, 2, *range(4, 12)]


def test_the_legacy_api_counts_the_resumed_rounds_in_its_evaluation(tmp_path):
    seen, path = [], tmp_path / "run.npz"

    class Watched(legacy_flower.FedAvg):
        def evaluate(self, server_round, parameters):
            seen.append(("evaluate", server_round))

        def configure_evaluate(self, server_round, parameters, client_manager):
            seen.append(("configure", server_round))
            return []

        def aggregate_evaluate(self, server_round, results, failures):
            seen.append(("aggregate", server_round))
            return 0.0, {}

    one_round(legacy.Robust(rules.Krum(f=1), Watched(), checkpoint=path))
    again = legacy.Robust(rules.Krum(f=1), Watched(), checkpoint=path, resume=True)
    parameters = again.initialize_parameters(Clients())
    again.evaluate(0, parameters)
    again.configure_evaluate(1, parameters, Clients())
    again.aggregate_evaluate(1, [(proxy, Mock(status=OK, loss=1.0, num_examples=1, metrics={})) for proxy in proxies()], [])
    assert seen == [("evaluate", 1), ("configure", 2), ("aggregate", 2)]


def test_accept_failures_false_is_flowers():
    built = legacy.FedMedian(accept_failures=False)
    built.configure_fit(1, ndarrays_to_parameters(MODEL), Clients())
    assert built.aggregate_fit(1, [], [RuntimeError()]) == (None, {})
    assert built.aggregate_evaluate(1, [], [RuntimeError()]) == (None, {})


def test_a_config_record_is_told_what_byzantine_sgd_wants():
    config = ConfigRecord()
    ours.ByzantineSGD(rules.Krum(f=1), 0.1).configure_train(1, start(), config, LocalGrid(client_app(), N))
    assert config["reply-kind"] == "gradient"


def test_malformed_replies_do_not_begin_the_grace_period():
    """Nine of eleven answer at once, two of them nonsense: the quorum of nine is full with the two that come later."""
    late = SlowGrid([0.6 if node in (3, 7) else 0.0 for node in range(1, N + 1)])
    late.local.spoil = nonsense
    built = ours.FedTrimmedAvg(f=F, grace=0.0, min_train_nodes=N, fraction_evaluate=0.0)
    built.start(late, start(), 1)
    assert built.reports[0].with_status("missing") == []
    assert built.reports[0].with_status("invalid") == [2, 5]


def test_results_of_proxies_without_names_are_told_apart():
    results = [(MagicMock(spec=["cid"], cid=""), FitRes(OK, ndarrays_to_parameters([np.full(1, float(k))]), 1, {})) for k in range(5)]
    found, _ = legacy.FedMedian().aggregate_fit(1, results, [])
    assert parameters_to_ndarrays(found)[0].tolist() == [2.0]


def test_a_round_that_a_failure_costs_is_reported_and_counted():
    built = legacy.FedMedian(accept_failures=False, max_skipped_rounds=2)
    built.configure_fit(1, ndarrays_to_parameters(MODEL), Clients())
    assert built.aggregate_fit(1, [], [RuntimeError()]) == (None, {})
    assert (built.reports[0].aggregated, built.reports[0].n_sampled) == (False, 11)
    assert "accept_failures is False, and 1 clients failed" in built.reports[0].note
    with pytest.raises(InfeasibleRound, match="skipped 2 rounds in a row"):
        built.aggregate_fit(2, [], [RuntimeError()])


def test_one_result_is_enough_where_the_rule_says_so():
    (proxy, *_) = proxies()
    found, _ = legacy.FedMedian().aggregate_fit(1, [(proxy, FitRes(OK, ndarrays_to_parameters([np.ones(2)]), 1, {}))], [])
    assert parameters_to_ndarrays(found)[0].tolist() == [1.0, 1.0]
