"""Colluders around legacy strategies: what cannot be attacked, copies, resumed runs, models that are shared in part."""

import copy
import pickle
from dataclasses import replace

import pytest
from flwr.common import Code, FitRes, Parameters, Status, ndarrays_to_parameters
from flwr.server import strategy as flower

from flwr_byzantine import attacks, errors, legacy, rules
from flwr_byzantine.adversary import AdversarialGrid, AdversarialStrategy, by_partition
from flwr_byzantine.adversary.nodes import UNNAMED
from tests.support.legacy import MODEL, Clients, proxies
from tests.support.legacy_clients import Client, N, Seen, below, federated, fitted

BAD = {0, 2}


def test_partitions_that_no_reply_names_choose_nobody_and_that_is_said():
    seen = Seen()
    strategy = AdversarialStrategy(seen, attacks.IPM(), by_partition(BAD))
    strategy.configure_fit(1, ndarrays_to_parameters(MODEL), None)
    strategy.aggregate_fit(1, [(proxy, replace(fitted(Client(proxy.node_id)), metrics={})) for proxy in proxies(N)], [])
    assert (strategy.attacked, strategy.notices) == ([], [UNNAMED])


def test_models_that_are_no_arrays_are_left_alone_and_that_is_said():
    strategy = AdversarialStrategy(Seen(), attacks.IPM(), {1})
    strategy.configure_fit(1, Parameters([b'{"learner": 1}'], ""), None)
    results = [(proxy, FitRes(Status(Code.OK, ""), Parameters([b"{}"], ""), 1, {})) for proxy in proxies(N)]
    strategy.aggregate_fit(1, results, [])
    assert strategy.strategy.results == results
    assert strategy.notices == ["nothing is attacked: what Seen sends is no model of arrays (ValueError)"]


def test_it_is_outermost():
    inner = AdversarialStrategy(flower.FedAvg(), attacks.IPM(), {1})
    with pytest.raises(errors.InvalidParameter, match=r"Robust cannot wrap AdversarialStrategy: .* AdversarialStrategy\(Robust\("):
        legacy.Robust(rules.Median(f=2), strategy=inner)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda strategy: pickle.loads(pickle.dumps(strategy))])
def test_it_can_be_copied_and_shown(make):
    attack = attacks.IPM(epsilon=2.0)
    strategy = make(AdversarialStrategy(flower.FedAvg(min_fit_clients=3), attack, by_partition({0})))
    assert (strategy.min_fit_clients, strategy.attack, strategy.attacked) == (3, attack, [])
    assert "FedAvg" in repr(strategy)
    assert repr(attack) in repr(strategy)
    assert make(AdversarialGrid(None, attack, {1})).attacked == []


def test_a_run_that_is_resumed_goes_on_in_the_attack(tmp_path):
    rounds = []

    class Noted(attacks.IPM):
        def craft(self, honest, f, context):
            rounds.append(context.round)
            return super().craft(honest, f, context)

    for _ in range(2):
        inner = below([], legacy.FedMedian, f=2, checkpoint=tmp_path / "run", resume=True)
        federated(AdversarialStrategy(inner, Noted(), by_partition(BAD)))
    assert rounds == [1, 2, 3, 4, 5, 6]


def test_clients_that_keep_arrays_to_themselves_are_attacked_in_the_others():
    inner = legacy.FedMedian(f=2, shared=[1], initial_parameters=ndarrays_to_parameters(MODEL))
    strategy = AdversarialStrategy(inner, attacks.IPM(epsilon=2.0), {1, 2})
    strategy.configure_fit(1, ndarrays_to_parameters(MODEL), Clients())
    strategy.aggregate_fit(1, [(proxy, one_of(fitted(Client(proxy.node_id - 1)))) for proxy in proxies(N)], [])
    assert strategy.attacked == [1, 2]
    assert [strategy.reports[0].nodes[node].status for node in (1, 2)] == 2 * ["rejected"]
    assert strategy.reports[0].n_valid == N


def test_clients_under_a_robust_strategy_share_one_broadcast():
    inner = legacy.FedMedian(f=2, initial_parameters=ndarrays_to_parameters(MODEL))
    strategy = AdversarialStrategy(inner, attacks.IPM(), {1, 2})
    strategy.configure_fit(1, ndarrays_to_parameters(MODEL), Clients())
    strategy.aggregate_fit(1, [(proxy, fitted(Client(proxy.node_id - 1))) for proxy in proxies(N)], [])
    assert inner.core.template.names == ["0", "1"]
    found = [strategy._sent(node, len(MODEL)) for node in range(1, N + 1)]
    assert all(one is found[0] for one in found)


def one_of(result):
    return replace(result, parameters=Parameters(result.parameters.tensors[1:], "numpy.ndarray"))
