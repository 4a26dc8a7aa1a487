"""Colluders in Flower's legacy loop, which sends to each client by itself."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common import Parameters, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import strategy as flower

from flwr_byzantine import LocalGrid, attacks, errors, legacy, rules
from flwr_byzantine.adversary import AdversarialGrid, AdversarialStrategy, by_partition, grid
from flwr_byzantine.flower.records import arrays_of
from tests.support.legacy import MODEL, proxies
from tests.support.legacy_clients import ROUNDS, Client, N, Seen, app, below, federated, fitted, in_process

BAD = {0, 2}


def on_the_engine(server_app, mount):
    from flwr.simulation import run_simulation

    backend = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 2, "log_to_driver": False}}
    run_simulation(server_app, app, N, backend_config=backend)


def expected(attack, rule=None):
    """The models that follow where the attack is made on arrays, and the server takes the average."""
    model, models = np.zeros(10), [np.zeros(10)]
    for server_round in range(1, ROUNDS + 1):
        updates = np.array([(1 + who - model) / 2 for who in range(N) if who not in BAD])
        sent = attack(updates, len(BAD), rng=np.random.default_rng([5, server_round]), rule=rule)
        model = model + np.mean([*updates, *sent], axis=0)
        models.append(model)
    return models


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")  # Ray's open files
@pytest.mark.parametrize(
    ("attack", "run"),
    [
        (attacks.ALIE(z=1.5), on_the_engine),
        (attacks.ALIE(z=1.5), in_process),
        (attacks.IPM(epsilon=2.0), in_process),
        (attacks.Adaptive(evals=20), in_process),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_colluders_see_all_honest_results_in_flowers_own_loop(attack, run):
    models, rule = [], rules.Median(f=2)
    strategy = AdversarialStrategy(below(models), attack, by_partition(BAD), rule, seed=5)
    federated(strategy, run)
    assert len(strategy.attacked) == len(BAD)
    known = 2 if attack.knowledge == "rule" else len(models)  # `Adaptive` looks at the last step, too
    np.testing.assert_allclose(models[:known], expected(attack, rule)[:known], rtol=1e-4, atol=1e-5)
    assert len(models) == ROUNDS + 1


@pytest.mark.parametrize("attack", [attacks.ALIE(z=1.5), attacks.IPM(epsilon=2.0), attacks.SignFlip(scale=3.0)], ids=str)
def test_what_is_sent_is_what_the_grid_sends(attack):
    content = RecordDict(
        {"fitins.parameters": ArrayRecord({str(k): Array(v) for k, v in enumerate(MODEL)}), "fitins.config": ConfigRecord({})}
    )
    asked = [Message(content, node, "train", group_id="1") for node in range(1, N + 1)]
    mounted = AdversarialGrid(LocalGrid(app, N), attack, by_partition(BAD), seed=5)
    by_grid = [list(arrays_of(reply).values()) for reply in mounted.send_and_receive(asked)]
    seen = Seen()
    strategy = AdversarialStrategy(seen, attack, by_partition(BAD), seed=5)
    strategy.configure_fit(1, ndarrays_to_parameters(MODEL), None)
    strategy.aggregate_fit(1, [(proxy, fitted(Client(proxy.node_id - 1))) for proxy in proxies(N)], [])
    assert strategy.attacked == mounted.attacked == [1, 3]
    for one, (_, other) in zip(by_grid, seen.results, strict=True):
        assert [value.tobytes() for value in one] == [value.tobytes() for value in parameters_to_ndarrays(other.parameters)]


def test_results_that_cannot_be_read_and_failures_stay_and_the_given_ones_are_not_changed():
    seen = Seen()
    strategy = AdversarialStrategy(seen, attacks.IPM(epsilon=2.0), {1, 2, 3})
    strategy.configure_fit(1, ndarrays_to_parameters(MODEL), None)
    results = [(proxy, fitted(Client(proxy.node_id - 1))) for proxy in proxies(N)]
    for place, tensors in ((1, [b"garbage", b""]), (2, results[2][1].parameters.tensors[:1]), (4, [b"\x93NUMPY"])):
        results[place][1].parameters = Parameters(tensors, "numpy.ndarray")
    before = [list(result.parameters.tensors) for _, result in results]
    strategy.aggregate_fit(1, results, [RuntimeError("gone")])
    assert strategy.attacked == [1]
    assert [seen.results[place][1] is result for place, (_, result) in enumerate(results)] == [False] + 6 * [True]
    assert [list(result.parameters.tensors) for _, result in results] == before
    assert not by_partition({0})(replace(results[0][1], metrics=None))
    honest_mean = np.mean([(1 + who) / 2 for who in (3, 5, 6)])
    np.testing.assert_allclose(parameters_to_ndarrays(seen.results[0][1].parameters)[1], -2 * honest_mean, rtol=1e-6)
    assert seen.results[0][1].metrics == {"partition-id": 0}


def test_a_robust_strategy_inside_keeps_its_reports_and_leaves_the_attackers_out():
    models = []
    strategy = AdversarialStrategy(below(models, legacy.Krum, num_malicious_clients=2), attacks.IPM(epsilon=5.0), by_partition(BAD))
    federated(strategy)
    assert [report.n_valid for report in strategy.reports] == ROUNDS * [N]
    assert [strategy.reports[-1].nodes[node].status for node in strategy.attacked] == 2 * ["rejected"]
    assert models[-1].min() > 0


def test_results_of_nodes_that_were_not_asked_stay():
    seen = Seen()
    strategy = AdversarialStrategy(seen, attacks.SignFlip(), {1, 8})
    before = [(proxy, fitted(Client(0))) for proxy in proxies(8)]
    strategy.aggregate_fit(1, before, [])
    assert seen.results == before
    strategy.configure_fit(1, ndarrays_to_parameters(MODEL), None)
    strategy.aggregate_fit(1, before, [])
    assert [one is other for (_, one), (_, other) in zip(seen.results, before, strict=True)] == [False] + 7 * [True]


def test_a_rule_that_the_attack_must_know_is_asked_for_at_once():
    with pytest.raises(errors.InvalidParameter, match="rule"):
        AdversarialStrategy(flower.FedAvg(), attacks.Adaptive(), {1})


@pytest.mark.parametrize("attack", [attacks.ALIE(), attacks.IPM()], ids=str)
def test_the_grid_says_in_flowers_legacy_loop_that_it_sees_no_honest_replies(attack):
    models, grids = [], []
    mount = lambda grid: (grids.append(AdversarialGrid(grid, attack, by_partition(BAD))), grids[0])[1]  # noqa: E731
    federated(below(models), mount=mount)
    idle = f"{type(attack).__name__} did nothing in a round of which it saw no honest reply"
    assert sorted(grids[0].notices) == sorted([grid.ALONE, idle])


def test_attacks_of_own_knowledge_work_on_the_grid_in_flowers_legacy_loop():
    models, attack = [], attacks.SignFlip(scale=3.0)
    grids = []
    federated(below(models), mount=lambda grid: (grids.append(AdversarialGrid(grid, attack, by_partition(BAD), seed=5)), grids[0])[1])
    model = 0.0
    for now in models[1:]:
        updates = [(1 + who - model) / 2 * (-3 if who in BAD else 1) for who in range(N)]
        model += np.mean(updates)
        np.testing.assert_allclose(now, model, rtol=1e-4)
    assert grids[0].notices == []
