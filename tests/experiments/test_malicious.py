"""Attacks that train in their own way on a task: the same on both engines, and only where clients train."""

import numpy as np
import pytest

from flwr_byzantine import attacks
from flwr_byzantine.experiments.tasks import Task
from flwr_byzantine.experiments.tasks.batched import federation as batched
from flwr_byzantine.experiments.tasks.client import client_app
from flwr_byzantine.experiments.tasks.engines import quiet
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.flower.codec import flat
from flwr_byzantine.flower.local import LocalGrid

TASK = Task(num_clients=4, num_malicious=2, local_epochs=1, hidden=(8,), partition="iid")
ROUNDS = 2
ATTACKS = [
    pytest.param(attacks.AlternatingMinimization(), attacks.EdgeCaseBackdoor(target=7, share=1.0, source=5), marks=pytest.mark.slow),
    pytest.param(attacks.BackdoorCriticalLayers(), attacks.Backdoor(), marks=pytest.mark.slow),
    (attacks.ThreeDFed(), attacks.Backdoor()),
]


def in_process(attack):
    """The final model on the engine "batched"."""
    return batched.vector(batched.federate(TASK, None, attack, ROUNDS, threads=1)[1])


@pytest.mark.parametrize(("attack", "on_data_alone"), ATTACKS, ids=lambda attack: type(attack).__name__)
def test_both_engines_let_it_train(attack, on_data_alone):
    with quiet():
        _, local = federate(LocalGrid(client_app(), TASK.num_clients), TASK, None, attack, ROUNDS)
        np.testing.assert_allclose(in_process(attack), flat(local), atol=2e-4)
        assert np.abs(in_process(attack) - in_process(on_data_alone)).max() > 0.01
