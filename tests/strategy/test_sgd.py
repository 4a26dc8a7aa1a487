"""Byzantine-resilient SGD in both Flower APIs, with PyTorch clients, momentum and certificates."""

import json

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from flwr_byzantine import ByzantineSGD, InvalidParameter, attacks, legacy, rules, theory
from flwr_byzantine.adversary import AdversarialGrid
from flwr_byzantine.client import gradient, gradient_reply
from flwr_byzantine.experiments.demo import apps
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.experiments.tasks.client import client_app as task_client_app
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.mods import byzantine_mod
from flwr_byzantine.strategy.steps import Descent
from tests.support.devices import each_device

N, F, D = 11, 2, 6
GOAL = torch.arange(D, dtype=torch.float32)


class Point(torch.nn.Module):
    """½‖w - goal‖² with noise in each batch; a buffer that training must leave alone."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(D))
        self.register_buffer("count", torch.tensor(3))


def loss(net, noise):
    return 0.5 * ((net.w - GOAL.to(noise.device) - noise) ** 2).sum()


def batches(context, server_round, scale=0.1, count=3):
    generator = torch.Generator().manual_seed(1000 * context.node_id + server_round)
    return [scale * torch.randn(D, generator=generator) for _ in range(count)]


def client_app(momentum=0.0, mods=None, scale=0.1, device="cpu"):
    app = ClientApp(mods=mods)

    @app.train()
    def train(message, context):
        data = [batch.to(device) for batch in batches(context, message.content["config"]["server-round"], scale)]
        metrics = {"partition-id": context.node_id - 1}
        return gradient_reply(message, context, Point().to(device), loss, data, momentum=momentum, metrics=metrics)

    return app


def start():
    return ArrayRecord(Point().state_dict())


def error(record):
    return float(np.abs(record["w"].numpy() - GOAL.numpy()).max())


def run(strategy, rounds=40, attack=None, **app):
    grid = LocalGrid(client_app(**app), N)
    if attack is not None:
        grid = AdversarialGrid(grid, attack, {2, 5})
    return strategy.start(grid, start(), rounds, evaluate_fn=None).arrays


def sgd(rule, step_size=0.3, **arguments):
    from flwr.serverapp.strategy import FedAvg

    return ByzantineSGD(rule, step_size=step_size, strategy=FedAvg(fraction_evaluate=0.0), **arguments)


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


def test_worker_momentum_lives_in_the_clients_state():
    grid = LocalGrid(client_app(momentum=0.9), N)
    strategy = sgd(rules.Mean(), step_size=1e-9)
    strategy.start(grid, start(), 2)
    kept = grid.contexts[1].state["flwr-byzantine.momentum"]["w"].numpy()
    G = [torch.stack([-GOAL - noise for noise in batches(grid.contexts[1], k)]).mean(0).numpy() for k in (1, 2)]
    np.testing.assert_allclose(kept, 0.9 * 0.1 * G[0] + 0.1 * G[1], rtol=1e-4)


def test_momentum_of_the_workers_shrinks_the_basin():
    def tail(momentum):
        strategy, grid, errors = sgd(rules.Krum(f=F), step_size=0.05), LocalGrid(client_app(momentum=momentum, scale=1.0), N), []
        strategy.start(
            grid, start(), 250, evaluate_fn=lambda _round, arrays: errors.append(np.square(arrays["w"].numpy() - GOAL.numpy()).sum())
        )
        return np.mean(errors[-100:])

    assert tail(0.9) < 0.5 * tail(0.0)


@pytest.mark.parametrize("attack", [attacks.SignFlip(scale=3.0), attacks.Zero()], ids=str)
def test_attacks_in_clients_see_gradients_not_models(attack):
    """The same attack mounted in the client and on the Grid sends the same vectors."""
    strategy = sgd(rules.Mean(), step_size=0.1)
    bad_app = client_app(mods=[byzantine_mod(attack, nodes={1, 4})])
    by_mod = strategy.start(LocalGrid(bad_app, N), start(), 3).arrays
    by_grid = run(sgd(rules.Mean(), step_size=0.1), rounds=3, attack=attack)
    np.testing.assert_allclose(by_mod["w"].numpy(), by_grid["w"].numpy(), rtol=1e-5)


def test_hostile_replies_are_dropped():
    def spoil(reply):
        if reply.metadata.src_node_id == 3:
            reply.content["arrays"]["w"] = Array(np.full(D, np.nan, np.float32))
        return reply

    strategy = sgd(rules.Krum(f=F))
    result = strategy.start(LocalGrid(client_app(), N, spoil=spoil), start(), 30).arrays
    assert strategy.reports[0].with_status("invalid") == [3]
    assert error(result) < 0.3


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
    from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays

    class Proxy:
        def __init__(self, node):
            self.node_id, self.cid = node, str(node)

    class Manager:
        def num_available(self):
            return N

        def wait_for(self, *_):
            return True

        def sample(self, num_clients, **_):
            return [Proxy(node) for node in range(1, num_clients + 1)]

    strategy = legacy.ByzantineSGD(rules.Krum(f=F), step_size=0.3)
    parameters = ndarrays_to_parameters([np.zeros(D, np.float32)])
    for server_round in range(1, 30):
        results = []
        for proxy, instructions in strategy.configure_fit(server_round, parameters, Manager()):
            assert instructions.config["reply-kind"] == "gradient"
            net = Point()
            net.w.data = torch.from_numpy(parameters_to_ndarrays(instructions.parameters)[0].copy())
            found = gradient(net, loss, batches(Context(1, proxy.node_id, {}, RecordDict(), {}), server_round)).arrays["w"]
            sent = -10 * found if proxy.node_id <= F else found
            results.append((proxy, FitRes(Status(Code.OK, ""), ndarrays_to_parameters([sent]), 1, {})))
        parameters, _ = strategy.aggregate_fit(server_round, results, [])
    assert np.abs(parameters_to_ndarrays(parameters)[0] - GOAL.numpy()).max() < 0.3


@each_device
def test_a_model_on_a_device_answers_as_one_on_the_cpu(device):
    there, here = (run(sgd(rules.Mean()), rounds=3, momentum=0.5, device=where) for where in (device, "cpu"))
    np.testing.assert_allclose(there["w"].numpy(), here["w"].numpy(), rtol=1e-5)


def test_gradient_of_a_few_batches():
    net = Point()
    data = [torch.full((D,), value) for value in (0.0, 3.0)]
    mean, total = gradient(net, loss, data), gradient(net, loss, data, reduction="sum")
    np.testing.assert_allclose(mean.arrays["w"], -GOAL.numpy() - 1.5, rtol=1e-6)
    np.testing.assert_allclose(total.arrays["w"], 2 * mean.arrays["w"], rtol=1e-6)
    assert mean.noise == pytest.approx(D * 4.5 / 2)
    assert total.noise == pytest.approx(4 * mean.noise)
    assert mean.arrays["count"].dtype == np.int64
    assert gradient(net, loss, data[:1]).noise is None
    context = Context(1, 1, {}, RecordDict(), {})
    assert gradient(net, loss, data, context=context, momentum=0.5).noise == pytest.approx(mean.noise / 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ByzantineSGD(rules.Krum(f=1), step_size="fast"), "step_size must be a number > 0 or a function"),
        (lambda: ByzantineSGD(rules.Krum(f=1), step_size=-1.0), "gamma must be a number > 0, got -1.0"),
        (lambda: ByzantineSGD(rules.Krum(f=1), step_size=0.1, momentum=1.0), "momentum must be a number >= 0 and < 1, got 1.0"),
        (lambda: ByzantineSGD(rules.Krum(f=1), step_size=lambda k: -k).descent.gamma(1), "finite number > 0, got -1 at k = 1"),
        (lambda: ByzantineSGD(rules.Krum(f=1), step_size=0.1, certificate="yes"), "certificate must be True or False"),
        (lambda: gradient(Point(), loss, []), "at least one batch, got none"),
        (lambda: gradient(Point(), loss, [torch.zeros(D)], momentum=0.5), "pass context="),
    ],
)
def test_mistakes_get_one_clear_sentence(make, message):
    with pytest.raises(InvalidParameter, match=message):
        make()


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


def test_messages_say_that_a_gradient_is_wanted():
    strategy = sgd(rules.Krum(f=1))
    (message, *_) = strategy.configure_train(1, start(), ConfigRecord(), LocalGrid(client_app(), N))
    assert isinstance(message, Message)
    assert message.content["config"]["reply-kind"] == "gradient"


def test_momentum_forgets_an_aggregate_that_overflows():
    step, model = Descent(0.5, momentum=0.5), [np.ones(2)]
    for k in range(3):
        model = step.step(k, model, [np.full(2, 1.7e308)])
        assert np.isfinite(model[0]).all()
        assert np.isfinite(step.velocity[0]).all()
    for k in range(3, 9):
        step.step(k, model, [np.zeros(2)])
    assert step.velocity[0].max() <= np.finfo(np.float64).max / 2**6
