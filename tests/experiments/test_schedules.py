"""Step sizes that change with the round, and momentum: of the server, of the clients, and of clients that sit out."""

from dataclasses import replace

import numpy as np
import pytest

from flwr_byzantine import attacks, rules
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.experiments.tasks.client import client_app
from flwr_byzantine.experiments.tasks.engines import federate_on
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.experiments.tasks.model_error import ModelError
from flwr_byzantine.experiments.tasks.participation import participants
from flwr_byzantine.experiments.tasks.server_step import ServerStep
from flwr_byzantine.flower.codec import flat
from flwr_byzantine.flower.local import LocalGrid

SMALL = Task(model="softmax", partition="iid", num_clients=5, local_steps=1)
METHODS = pytest.mark.parametrize("method", ["local-sgd", "byzantine-sgd"])


class Seen:
    """A Grid that keeps the models that were broadcast and the replies, flat, by client; node k is client k - 1."""

    def __init__(self, task):
        self.grid, self.models, self.replies = LocalGrid(client_app(), task.num_clients), [], []

    def __getattr__(self, name):
        return getattr(self.grid, name)

    def send_and_receive(self, messages, *, timeout=None):
        sent, replies = list(messages), list(self.grid.send_and_receive(messages, timeout=timeout))
        if sent and "arrays" in sent[0].content:
            self.models.append(flat(sent[0].content["arrays"]).astype(np.float64))
            self.replies.append({reply.metadata.src_node_id - 1: flat(reply.content["arrays"]).astype(np.float64) for reply in replies})
        return replies


def watched(task, rule=None, rounds=4):
    grid = Seen(task)
    history, arrays = federate(grid, task, rule, None, rounds)
    return np.array([*grid.models, flat(arrays).astype(np.float64)]), grid.replies, history


@pytest.mark.parametrize("engine", ["local", "batched"])
def test_what_of_the_schedule_no_round_comes_to_says_so(engine):
    late = replace(SMALL, milestones=(1, 3, 4), warm_up=4)
    history, _ = federate_on(engine, late, None, None, 3, None)
    assert history.notices == [
        "lr does not fall at milestones = [3, 4]: no round of 3 is after them",
        "lr does not rise to its value: warm-up = 4, rounds = 3",
    ]
    reached, _ = federate_on(engine, late, None, None, 5, None)
    assert reached.notices == []


@METHODS
def test_the_rate_of_each_round_is_the_schedules(method):
    """With one step of one batch per round, what a round moves is its rate times the mean gradient there."""
    steady = replace(SMALL, method=method, batch_size=2000)
    task = replace(steady, milestones=(2,), lr_decay=0.25, lr_power=0.5, warm_up=2)
    expected = [0.5, 1 / 2**0.5, 0.25 / 3**0.5, 0.25 / 2]
    assert [task.lr_in(k) for k in (1, 2, 3, 4)] == pytest.approx([0.1 * rate for rate in expected])
    models, replies, _ = watched(task)
    for k, rate in enumerate(expected):
        mean = np.mean(list(replies[k].values()), axis=0)
        gradient = (models[k] - mean) / (0.1 * rate) if method == "local-sgd" else mean
        assert models[k] - models[k + 1] == pytest.approx(0.1 * rate * gradient, abs=1e-5)
    first = [watched(other, rounds=1)[1][0][0] for other in (steady, task)]
    ratio = 0.5 if method == "local-sgd" else 1.0
    start = models[0] if method == "local-sgd" else 0 * models[0]
    assert first[1] - start == pytest.approx(ratio * (first[0] - start), abs=1e-5)


@METHODS
@pytest.mark.parametrize("rule", [None, rules.Mean()])
def test_server_momentum_adds_up_what_the_rule_gives(method, rule):
    task = replace(SMALL, method=method, server_momentum=0.5, server_lr=1.0 if method == "byzantine-sgd" else 0.8, batch_size=2000)
    models, replies, _ = watched(task, rule)
    velocity = 0.0
    for k in range(4):
        mean = np.mean(list(replies[k].values()), axis=0)
        velocity = 0.5 * velocity + (mean if method == "byzantine-sgd" else models[k] - mean)
        rate = 0.1 if method == "byzantine-sgd" else 0.8
        assert models[k] - models[k + 1] == pytest.approx(rate * velocity, abs=1e-4)
        assert np.abs(velocity).max() > 1e-3


@METHODS
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_next_model_is_foreseen_from_the_rounds_rate_and_the_servers_momentum(method, momentum):
    rate = {"server_lr": 0.8} if method == "local-sgd" else {"milestones": (1,), "warm_up": 2}
    task = replace(SMALL, method=method, server_momentum=momentum, **rate)
    models, replies, _ = watched(task, rules.Mean())
    step = ServerStep(task)
    for k in range(4):
        mean = np.mean(list(replies[k].values()), axis=0)
        given = mean if method == "byzantine-sgd" else mean - models[k]
        assert step.model(models[k], given) == pytest.approx(models[k + 1], abs=1e-5)
        step.aggregate(k + 1, models[k], models[k + 1])


def test_a_round_that_was_skipped_leaves_the_servers_momentum_and_counts_as_a_round():
    step = ServerStep(replace(SMALL, method="byzantine-sgd", server_momentum=0.5, lr=1.0, milestones=(2,)))
    step.aggregate(1, np.array([3.0]), np.array([1.0]))
    assert step.aggregate(2, np.array([1.0]), None) is None
    assert step.model(np.array([1.0]), np.array([4.0])) == pytest.approx([1.0 - 0.1 * (4.0 + 0.5 * 2.0)])


@pytest.mark.parametrize("engine", ["local", "batched"])
def test_an_attacker_that_looks_at_the_model_knows_the_servers_step_of_each_round(engine, monkeypatch):
    seen, error = {}, ModelError.__call__

    def noted(self, broadcast, aggregate):
        seen[self.step.round] = self.step.model(broadcast, 0.0 * aggregate) - broadcast
        return error(self, broadcast, aggregate)

    monkeypatch.setattr(ModelError, "__call__", noted)
    task = replace(SMALL, num_malicious=1, server_momentum=0.5)
    federate_on(engine, task, rules.Krum(f=1), attacks.Adaptive(goal="model"), 3, processes=1)
    assert [np.abs(seen[k]).max() > 1e-3 for k in (0, 1, 2)] == [False, True, True]


@METHODS
def test_kappa_is_of_the_rules_aggregate_whatever_the_servers_step(method):
    task = replace(SMALL, method=method, server_momentum=0.9, milestones=(2,), partition="sorted", clients_per_round=3)
    assert max(watched(task, rules.Mean())[2].kappa_seen) < 1e-6
    assert max(watched(task, rules.Krum(f=0))[2].kappa_seen) > 0.1


@pytest.mark.parametrize("form", ["averaged", "sum"])
def test_worker_momentum_is_averaged_or_added_up_and_outlasts_rounds_that_a_client_sits_out(form):
    task = replace(SMALL, method="byzantine-sgd", momentum=0.5, momentum_form=form, clients_per_round=2, lr=1e-9, batch_size=2000)
    fresh = 0.5 if form == "averaged" else 1.0
    _, replies, _ = watched(task, rounds=8)
    _, plain, _ = watched(replace(task, momentum=0.0), rounds=8)
    momentum = dict.fromkeys(range(5), 0.0)
    for k, there in enumerate(replies, 1):
        assert set(there) == participants(task, k)
        for client, sent in there.items():
            momentum[client] = 0.5 * momentum[client] + fresh * plain[k - 1][client]
            assert sent == pytest.approx(momentum[client], abs=1e-6)
    assert any(participants(task, k) != participants(task, 1) for k in range(2, 9))
