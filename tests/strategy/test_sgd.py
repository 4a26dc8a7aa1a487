"""Byzantine-resilient SGD in both Flower APIs: every rule under attack, momentum of the server, certificates, real data."""

import json

import numpy as np
import pytest
import torch
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import FitRes, ndarrays_to_parameters, parameters_to_ndarrays

from flwr_byzantine import attacks, legacy, rules, theory
from flwr_byzantine.client import gradient
from flwr_byzantine.experiments.demo import apps
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.experiments.tasks.client import client_app as task_client_app
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.steps import Descent
from tests.support.legacy import OK, Clients
from tests.support.sgd import GOAL, D, F, N, Point, batches, error, loss, run, sgd

ROBUST = [cls for cls in rules.available() if cls.robust and not issubclass(cls, rules.PreAggregation) and cls.__name__ != "FLTrust"]
WEAKER = {"CGE", "CenteredClipping", "MoNNA", "FoolsGold"}  # a small, a slowly pulled, a trusted vector; Sybils


@pytest.mark.parametrize("rule", ROBUST, ids=lambda cls: cls.__name__)
def test_every_rule_descends_and_resists(rule):
    chosen = rule(f=F)
    result = run(sgd(chosen), attack=None if rule.__name__ in WEAKER else attacks.SignFlip(scale=10.0))
    assert error(result) < (1.5 if rule.__name__ in WEAKER else 0.4)
    assert list(result) == ["w", "count"]
    assert result["count"].numpy() == 3


@pytest.mark.parametrize(
    "chain", [rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F)), rules.chain(rules.ARC(f=F), rules.Median(f=F))], ids=str
)
def test_chains_resist_and_the_mean_does_not(chain):
    assert error(run(sgd(chain), attack=attacks.SignFlip(scale=10.0))) < 0.2
    assert error(run(sgd(rules.Mean()), rounds=5, attack=attacks.SignFlip(scale=10.0))) > 5


def test_one_round_is_the_formula():
    """w_1 = w_0 - γ_0 F(V): against the gradients computed apart, with server momentum over two rounds."""
    strategy = sgd(rules.Mean(), step_size=theory.Polynomial(0.5, p=1.0), momentum=0.9)
    found = run(strategy, rounds=2)["w"].numpy()
    w, m = torch.zeros(D), torch.zeros(D)
    for k in range(2):
        rows = [
            torch.stack([w - GOAL - noise for noise in batches(Context(1, node, {}, RecordDict(), {}), k + 1)]).mean(0)
            for node in range(1, N + 1)
        ]
        m = 0.9 * m + torch.stack(rows).mean(0)
        w = w - 0.5 / (k + 1) * m
    np.testing.assert_allclose(found, w.numpy(), rtol=1e-5)


def test_certificate_is_positive_far_out_and_negative_in_the_basin(tmp_path):
    path = tmp_path / "reports.jsonl"
    strategy = sgd(rules.TrimmedMean(f=F), certificate=True, report_path=path)
    run(strategy, rounds=30, attack=attacks.ALIE(z=1.5))
    first, last = strategy.reports[0].certificate, strategy.reports[-1].certificate
    assert first.holds
    assert first.margin > 0.5
    assert not last.holds
    assert f"at most f = {F} of n = {N} replies are Byzantine" in first.assumes
    assert 0.2 * 0.02 < first.estimate.noise < 5 * 0.02  # 6 coordinates of 0.1² over 3 batches
    assert json.loads(path.read_text().splitlines()[0])["certificate"]["holds"] is True


def test_a_rule_without_a_bound_gets_no_certificate():
    strategy = sgd(rules.CGE(f=F), certificate=True)
    run(strategy, rounds=1)
    assert not strategy.reports[0].certificate.holds
    assert "no bound on κ is known" in strategy.reports[0].certificate.assumes


def test_the_legacy_strategy_learns_under_attack_too():
    strategy = legacy.ByzantineSGD(rules.Krum(f=F), step_size=0.3)
    parameters = ndarrays_to_parameters([np.zeros(D, np.float32)])
    for server_round in range(1, 30):
        results = []
        for proxy, instructions in strategy.configure_fit(server_round, parameters, Clients()):
            assert instructions.config["reply-kind"] == "gradient"
            net = Point()
            net.w.data = torch.from_numpy(parameters_to_ndarrays(instructions.parameters)[0].copy())
            found = gradient(net, loss, batches(Context(1, proxy.node_id, {}, RecordDict(), {}), server_round)).arrays["w"]
            sent = -10 * found if proxy.node_id <= F else found
            results.append((proxy, FitRes(OK, ndarrays_to_parameters([sent]), 1, {})))
        parameters, _ = strategy.aggregate_fit(server_round, results, [])
    assert np.abs(parameters_to_ndarrays(parameters)[0] - GOAL.numpy()).max() < 0.3


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_on_real_data_the_robust_rule_learns_and_the_mean_does_not(momentum):
    """Digits over 20 heterogeneous clients, 4 of them colluding: the robust rule learns, the mean does not."""
    task = Task(method="byzantine-sgd", momentum=momentum, batch_size=32, lr=0.5)
    grid = LocalGrid(task_client_app(), 20)
    rule = rules.chain(rules.NNM(f=4), rules.TrimmedMean(f=4))
    robust, _ = apps.federate(grid, task, rule, attacks.SignFlip(scale=10.0), 4, 60)
    plain, _ = apps.federate(LocalGrid(task_client_app(), 20), task, None, attacks.SignFlip(scale=10.0), 4, 20)
    assert robust.final > 0.8
    assert plain.final < 0.3


def test_a_federation_in_which_nobody_trains_is_an_error():
    from flwr_byzantine import ByzantineError

    app = ClientApp()

    @app.train()
    def train(message, context):
        raise RuntimeError("disk full")

    with pytest.raises(ByzantineError, match=r"no client sent a model in 2 rounds.*"):
        apps.federate(LocalGrid(app, 20), Task(), None, None, 0, 2)
    with pytest.raises(ByzantineError, match=r"disk full"):
        apps.federate(LocalGrid(app, 20), Task(), rules.Krum(f=4), None, 0, 2)


def test_momentum_forgets_an_aggregate_that_overflows():
    step, model = Descent(0.5, momentum=0.5), [np.ones(2)]
    for k in range(3):
        model = step.step(k, model, [np.full(2, 1.7e308)])
        assert np.isfinite(model[0]).all()
        assert np.isfinite(step.velocity[0]).all()
    for k in range(3, 9):
        step.step(k, model, [np.zeros(2)])
    assert step.velocity[0].max() <= np.finfo(np.float64).max / 2**6
