"""Gradients as clients send them: momentum in their state, attacks, devices, a few batches, mistakes."""

import numpy as np
import pytest
import torch
from flwr.app import Array, ConfigRecord, Context, Message, RecordDict

from flwr_byzantine import ByzantineSGD, InvalidParameter, attacks, rules
from flwr_byzantine.client import gradient
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.mods import byzantine_mod
from tests.support.devices import each_device
from tests.support.sgd import GOAL, D, F, N, Point, batches, client_app, error, loss, run, sgd, start


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


def test_messages_say_that_a_gradient_is_wanted():
    strategy = sgd(rules.Krum(f=1))
    (message, *_) = strategy.configure_train(1, start(), ConfigRecord(), LocalGrid(client_app(), N))
    assert isinstance(message, Message)
    assert message.content["config"]["reply-kind"] == "gradient"
