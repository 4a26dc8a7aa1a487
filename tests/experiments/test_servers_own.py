"""What sweeps' servers have of their own: an update and a loss on held-back data, and predictions on random inputs."""

import numpy as np
import pytest
import torch

from flwr_byzantine import InvalidParameter, attacks, rules
from flwr_byzantine.experiments import detection
from flwr_byzantine.experiments.tasks import Task, batched
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.experiments.tasks.servers_own import INPUTS, ServersOwn
from flwr_byzantine.flower.codec import pack

TASK = Task(validation=0.2, num_clients=10, num_malicious=3, local_steps=5, alpha=10.0)
TEXT = Task("pydoc", model="transformer")


def own(task):
    return ServersOwn(task, model(task), load(task))


def first(task):
    return {name: value.numpy() for name, value in model(task).state_dict().items()}


@pytest.mark.parametrize("rule", [rules.chain(rules.ZenoPlusPlus(f=3), rules.Mean()), rules.FLTrust(f=3)], ids=str)
@pytest.mark.parametrize("method", ["local-sgd", "byzantine-sgd"])
def test_who_goes_against_the_servers_own_update_is_left_out(rule, method):
    task = Task(**{**vars(TASK), "method": method, "batch_size": 64})
    history, _ = batched.federate(task, rule, attacks.SignFlip(scale=3.0), rounds=4)
    assert detection.figures(history.verdicts)["recall"] == 1.0
    assert history.accuracy[-1] > history.accuracy[0]


@pytest.mark.parametrize("method", ["local-sgd", "byzantine-sgd"])
def test_the_update_is_made_of_the_held_back_examples_alone(method):
    task = Task(**{**vars(TASK), "method": method, "batch_size": 10_000, "local_steps": 1})
    net, data = model(task), load(task)
    loss = torch.nn.functional.cross_entropy(net(data.validation_x), data.validation_y)
    expected = [gradient.numpy() for gradient in torch.autograd.grad(loss, list(net.parameters()))]
    before = first(task)
    found = own(task).update(1, pack(before)).values()
    if method == "local-sgd":
        found = [(old - new) / task.lr for old, new in zip(before.values(), found, strict=True)]
    assert all(np.allclose(got, wanted, atol=1e-5) for got, wanted in zip(found, expected, strict=True))


@pytest.mark.parametrize("task", [TASK, TEXT], ids=["images", "tokens"])
def test_predictions_are_of_inputs_that_last_a_round(task):
    here, arrays = own(task), first(task)
    found = here.predict(1, arrays)
    assert found.shape == (INPUTS, load(task).classes)
    assert np.allclose(found.sum(axis=1), 1.0, atol=1e-5)
    assert (found == here.predict(1, arrays)).all()
    assert not (found == here.predict(2, arrays)).all()


@pytest.mark.parametrize("name", ["zeno", "zeno-plus-plus", "fltrust"])
def test_a_task_without_data_for_the_server_says_what_to_set(name):
    rule = rules.parse(f"{name}+mean" if "zeno" in name else name, f=1)
    with pytest.raises(InvalidParameter, match=r"asks for data of the server's own, and the task has none: set validation, say to 0\.1"):
        batched.federate(Task(num_clients=4), rule, None, rounds=1)
