"""Byz-NSGDM and Byz-VR-MARINA: a normalised server step, and gradients that clients correct in place of drawing them anew."""

import copy

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdam, FedAvg

from flwr_byzantine import ByzantineSGD, InvalidParameter, attacks, legacy, rules
from flwr_byzantine.adversary import AdversarialGrid
from flwr_byzantine.client import gradient, gradient_reply
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.experiments.tasks.engines import federate_on
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.strategy.steps import Descent

N, F, D = 9, 2, 5
CENTRES = torch.tensor(np.random.default_rng(0).normal(size=(40, D)), dtype=torch.float32)
CURVES = torch.tensor(np.random.default_rng(1).uniform(0.2, 1.8, size=(40, 1)), dtype=torch.float32)
BEST = ((CURVES * CENTRES).sum(0) / CURVES.sum()).numpy()
ALL = torch.arange(40)
ROUND = "flwr-byzantine.last-modelreply-round"
ROBUST = rules.chain(rules.NNM(f=F), rules.TrimmedMean(f=F))


class Point(torch.nn.Module):
    def __init__(self, w=0.0):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(D) + torch.as_tensor(w, dtype=torch.float32))
        self.register_buffer("count", torch.tensor(3))


def quadratic(net, places):
    """Mean of ½ a_i ‖w - c_i‖² over examples: finitely many, so that a full gradient has no noise."""
    return 0.5 * (CURVES[places] * (net.w - CENTRES[places]) ** 2).sum(1).mean()


def steep(net, noise):
    """Σ w⁴ / 4: no Lipschitz gradient, and steps in proportion to it leave the bowl."""
    return 0.25 * (net.w**4).sum() + (net.w * noise).sum()


def two(generator):
    return torch.randint(0, 40, (2,), generator=generator)


def noise(generator):
    return 0.5 * torch.randn(D, generator=generator)


def app(loss, draw=two, **options):
    made = ClientApp()

    @made.train()
    def train(message, context):
        generator = torch.Generator().manual_seed(1000 * context.node_id + message.content["config"]["server-round"])
        return gradient_reply(message, context, Point(), loss, [draw(generator)], **options)

    return made


def descend(strategy, grid, rounds, w=0.0, attacked=True):
    over = AdversarialGrid(grid, attacks.SignFlip(scale=5.0), {2, 5}) if attacked else grid
    return strategy.start(over, ArrayRecord(Point(w).state_dict()), rounds).arrays["w"].numpy()


def sgd(rule, step_size=0.3, **options):
    return ByzantineSGD(rule, step_size=step_size, strategy=FedAvg(fraction_evaluate=0.0), **options)


def test_a_normalised_step_has_the_length_of_its_step_size_over_all_blocks():
    for size in (1e-300, 1e-3, 1.0, 1e300):
        step = Descent(0.5, normalized=True)
        model = step.step(0, [np.zeros(1), np.zeros(2)], [np.array([3.0 * size]), np.array([0.0, -4.0 * size])])
        np.testing.assert_allclose(np.concatenate(model), [-0.3, 0.0, 0.4])
    np.testing.assert_array_equal(Descent(0.5, normalized=True).step(0, [np.ones(2)], [np.zeros(2)])[0], np.ones(2))
    heavy = Descent(1.0, momentum=0.5, normalized=True)
    heavy.step(0, [np.zeros(2)], [np.array([2.0, 0.0])])
    np.testing.assert_allclose(heavy.step(1, [np.zeros(2)], [np.array([0.0, 1.0])])[0], -np.ones(2) / np.sqrt(2))


def test_byz_nsgdm_descends_where_plain_steps_diverge():
    """Σ w⁴ / 4 from w = 8, gradients of 512: momentum of the workers, NNM, normalised steps, two attackers."""

    def grid():
        return LocalGrid(app(steep, noise, momentum=0.9), N)

    assert np.abs(descend(sgd(ROBUST, 0.2, normalized=True), grid(), 120, w=8.0)).max() < 1.0
    assert not np.abs(descend(sgd(ROBUST, 0.2), grid(), 12, w=8.0)).max() < 100
    assert np.abs(descend(sgd(rules.Mean(), 0.2, normalized=True), grid(), 120, w=8.0)).max() > 2


def test_byz_vr_marina_reaches_the_minimum_where_sgd_stays_in_its_noise():
    """All hold the same 40 examples and draw two of them; two attackers."""
    reduced, plain = (descend(sgd(ROBUST, refresh=p), LocalGrid(app(quadratic, full=[ALL]), N), 120) for p in (0.1, None))
    assert np.abs(reduced - BEST).max() < 0.02 < 0.06 < np.abs(plain - BEST).max()


def test_it_does_in_the_legacy_api_too():
    """What NumPyClients get in their config and return."""
    strategy = legacy.ByzantineSGD(ROBUST, step_size=0.3, refresh=0.1)
    contexts, w = [Context(1, k, {}, RecordDict(), {}) for k in range(N)], np.zeros(D, np.float32)
    for number in range(1, 121):
        told, rows = dict(strategy.descent.told(number)), []
        for k, context in enumerate(contexts):
            places = two(torch.Generator().manual_seed(1000 * k + number))
            rows.append(gradient(Point(w), quadratic, [places], context=context, full=[ALL], told=told).arrays["w"])
        rows[2], rows[5] = -5 * rows[2], -5 * rows[5]
        (w,) = strategy.descent.step(number - 1, [w], [ROBUST(np.array(rows))])
    assert np.abs(w - BEST).max() < 0.02


def asked(strategy, number):
    return strategy.descent.told(number)["reply-gradient"]


def test_a_round_corrects_the_aggregate_of_the_round_before_by_the_formula():
    strategy, context, w, g = sgd(rules.Mean(), 0.25, refresh=1e-9), Context(1, 1, {}, RecordDict(), {}), np.zeros(D, np.float32), None
    before = w
    for k, places in enumerate(torch.tensor([[0, 1], [7, 30], [2, 9]])):
        net = Point(w)
        found = gradient(net, quadratic, [places], context=context, full=[ALL], told=strategy.descent.told(k + 1)).arrays
        exact = gradient(Point(w), quadratic, [ALL]).arrays["w"]
        if g is None:
            np.testing.assert_array_equal(found["w"], exact)
        else:
            here, there = (gradient(Point(at), quadratic, [places]).arrays["w"] for at in (w, before))
            np.testing.assert_allclose(found["w"], g + here - there, atol=1e-5)
            assert np.abs(found["w"] - exact).max() > 1e-4
        np.testing.assert_array_equal(net.w.detach().numpy(), w)
        assert found["count"] == 0
        g, before = found["w"], w
        (w,) = strategy.descent.step(k, [w], [g])


def test_full_gradients_are_asked_for_at_first_after_a_round_that_was_skipped_and_with_probability_p():
    strategy, rounds = sgd(ROBUST, refresh=0.3), []
    assert asked(strategy, 1) == "full"
    for k in range(400):
        strategy.descent.step(k, [np.zeros(1)], [np.ones(1)])
        rounds.append(asked(strategy, k + 2))
        assert asked(strategy, k + 2) == rounds[-1]
    assert 0.2 < rounds.count("full") / 400 < 0.4
    assert [asked(sgd(ROBUST, refresh=1.0), 2), asked(strategy, 403)] == ["full", "full"]  # round 402 took no step
    assert "reply-gradient" not in sgd(ROBUST).descent.told(1)


def test_the_state_survives_a_restart_of_the_server_and_a_client_without_it_answers_in_full(tmp_path):
    grid, options = LocalGrid(app(quadratic, full=[ALL]), N), {"refresh": 1e-9, "checkpoint": tmp_path / "run"}
    descend(sgd(ROBUST, **options), grid, 5, attacked=False)
    assert grid.contexts[1].state[ROUND]["round"] == 5
    kept = copy.deepcopy(grid.contexts[1])
    again = sgd(ROBUST, **options, resume=True)
    np.testing.assert_allclose(descend(again, grid, 40, attacked=False), BEST, atol=0.02)
    assert grid.contexts[1].state[ROUND]["round"] == 40
    fresh, config = Context(1, 1, {}, RecordDict(), {}), {"reply-gradient": "difference", "reply-round": "6", "reply-last-step": "0.3"}
    exact = gradient(Point(), quadratic, [ALL]).arrays["w"]
    for context, same in ((fresh, True), (kept, False), (grid.contexts[2], True)):  # lost, at hand, of another round
        answer = gradient(Point(), quadratic, [torch.tensor([3])], context=context, full=[ALL], told=config).arrays["w"]
        assert np.array_equal(answer, exact) is same


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sgd(ROBUST, refresh=0.0), "refresh must be a number > 0 and <= 1 or None, got 0.0"),
        (lambda: sgd(ROBUST, refresh=0.5, normalized=True), "refresh needs momentum=0 and normalized=False"),
        (lambda: ByzantineSGD(ROBUST, step_size=0.1, refresh=0.5, strategy=FedAdam()), r"refresh needs strategy=FedAvg\(\), got FedAdam"),
        (lambda: sgd(ROBUST, normalized=1), "normalized must be True or False, got 1"),
        (lambda: gradient(Point(), quadratic, [ALL], told={"reply-gradient": "full"}), "needs context= and full="),
        (lambda: Task(refresh=0.5), "normalized and refresh are of method = 'byzantine-sgd'"),
        (lambda: Task(method="byzantine-sgd", refresh=0.5, momentum=0.9), "refresh needs momentum = 0"),
        (lambda: federate_on("batched", Task(method="byzantine-sgd", refresh=0.5), None, None, 1), 'not in the engine "batched"'),
    ],
)
def test_mistakes_get_one_clear_sentence(make, message):
    with pytest.raises(InvalidParameter, match=message):
        make()


def test_arguments_set_later_hold_from_the_next_round_on():
    strategy = sgd(ROBUST)
    strategy.normalized = True
    assert strategy.descent.normalized
    strategy.normalized, strategy.refresh = False, 0.5
    (message, *_) = strategy.configure_train(1, ArrayRecord(Point().state_dict()), ConfigRecord(), LocalGrid(app(quadratic), N))
    assert message.content["config"]["reply-gradient"] == "full"


def test_tasks_have_both_methods():
    common = {"method": "byzantine-sgd", "num_clients": 6, "batch_size": 8, "lr": 0.5}
    reduced, _ = federate_on("local", Task(**common, refresh=0.2), rules.TrimmedMean(f=1), attacks.SignFlip(), 30, evaluate_every=30)
    assert reduced.accuracy[-1] > 0.5
    for engine in ("local", "batched"):
        task = Task(**common, normalized=True, momentum=0.9)
        found, _ = federate_on(engine, task, rules.TrimmedMean(f=1), attacks.SignFlip(), 30, evaluate_every=30)
        assert found.accuracy[-1] > 0.5
        assert max(found.kappa_seen) < 10
