"""How a task's malicious clients train under an attack that trains in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks import Attack
from flwr_byzantine.attacks.poisoning import predictor
from flwr_byzantine.attacks.training import TrainingAttack, malicious_training
from flwr_byzantine.experiments.tasks import training
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.poisoned import check_examples
from flwr_byzantine.experiments.tasks.task import Task


def trains_itself(task: Task, attack: Attack | None) -> bool:
    """Whether the attack trains in its own way on this task: under "byzantine-sgd" clients send a gradient, and do not train.

    Example:
        >>> from flwr_byzantine.attacks import Backdoor, ThreeDFed
        >>> [trains_itself(Task(), attack) for attack in (Backdoor(), ThreeDFed())]
        [False, True]
    """
    return isinstance(attack, TrainingAttack) and task.method == "local-sgd"


def train(net: nn.Module, task: Task, attack: Attack, client: int, server_round: int) -> float:
    """Train the net, which holds the broadcast model, as the attack does; the loss on the client's clean data.

    Each of the attack's trainings is that of an honest client in this round, with the same batches where the data are as many.
    """
    data, (x, y) = load(task), training.local_data(task, client)
    check_examples(attack, data.shape)
    scale, lr = data.train_scale, task.lr_in(server_round)

    def trained(arrays: list[Array], pair: tuple[Any, Any]) -> list[Array]:
        fill(net, arrays)
        training.train(net, task, scale.rows(pair[0]), pair[1], training.randomness(task, client, server_round), lr)
        return arrays_of(net)

    def scores(arrays: list[Array], images: torch.Tensor) -> torch.Tensor:
        fill(net, arrays)
        found: torch.Tensor = predictor(net)(scale.rows(images))
        return found

    options = {"num_classes": data.classes, "seed": task.seed, "attacker": client}
    fill(net, malicious_training(attack, arrays_of(net), (scale.images(x), y), trained, scores, **options))
    return training.evaluate(net, x, y)[0]


def arrays_of(net: nn.Module) -> list[Array]:
    """Copies of the values of its state_dict."""
    return [np.array(value.detach().numpy(), order="C") for value in net.state_dict().values()]


def fill(net: nn.Module, arrays: Sequence[Array]) -> None:
    """Give the net these values, in the order of its state_dict."""
    with torch.no_grad():
        for value, new in zip(net.state_dict().values(), arrays, strict=True):
            value.copy_(torch.as_tensor(new))
