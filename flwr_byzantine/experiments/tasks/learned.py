"""What a federation learns: its first model, what clients are told, and what a model is worth."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from flwr.app import ArrayRecord

from flwr_byzantine.adversary import Harm
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks import Attack
from flwr_byzantine.experiments.tasks.client import config_of
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.model_error import ModelError
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.experiments.tasks.partitions import partitions
from flwr_byzantine.experiments.tasks.poisoned import triggered
from flwr_byzantine.experiments.tasks.server_step import ServerStep
from flwr_byzantine.experiments.tasks.servers_own import ServersOwn
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.experiments.tasks.training import evaluate
from flwr_byzantine.rules import Rule


class Learned(Protocol):
    """What `federate` must know of it."""

    def initial(self) -> ArrayRecord:
        """The first model."""

    def config(self) -> Mapping[str, Any]:
        """What each training message tells the clients, beside the round."""

    def record_keys(self) -> Mapping[str, Any]:
        """How Flower's FedAvg is to call the records in its messages, where not as usual: its own arguments for that."""

    def measured(self, server_round: int, arrays: ArrayRecord) -> Mapping[str, float]:
        """The values of a model, by the names of `measures.MODEL_MEASURES`; accuracy is one."""

    def harm(self, step: ServerStep) -> Harm | None:
        """How an attacker that looks at the model tells how bad it is, given how the server steps; None where it cannot."""

    def servers_own(self, rule: Rule | None) -> Mapping[str, Any]:
        """What the server brings of its own for a rule: the strategies' `server_loss`, `server_update`, `server_predict`, where it can."""

    def notices(self) -> list[str]:
        """What is to be said of the federation when it is over."""


class TaskModel:
    """A task's model on its data, for the clients of `tasks.client`.

    Args:
        task: data and training.
        attack: or None.
        device: of PyTorch, where models are measured.

    Raises:
        InvalidParameter: the data cannot be divided among so many clients, which is the server's error and not each client's.

    Example:
        >>> learned = TaskModel(Task(model="softmax"), None)
        >>> sorted(learned.measured(0, learned.initial()))
        ['accuracy', 'loss', 'validation_accuracy']
    """

    def __init__(self, task: Task, attack: Attack | None, device: str = "cpu") -> None:
        partitions(task)
        self.task, self.attack, self.net, self.data = task, attack, model(task), load(task)
        backdoored = triggered(self.data, attack)
        self._measured = self.net if device == "cpu" else copy.deepcopy(self.net).to(device)
        self._test = self.data.test_x.to(device), self.data.test_y.to(device)
        self._validation = self.data.validation_x.to(device), self.data.validation_y.to(device)
        self._triggered = backdoored and (backdoored[0].to(device), backdoored[1].to(device))

    def initial(self) -> ArrayRecord:
        """The task's model by its seed."""
        return ArrayRecord(self.net.state_dict())

    def config(self) -> Mapping[str, Any]:
        """The task, and an attack on the data."""
        return config_of(self.task, self.attack)

    def record_keys(self) -> Mapping[str, Any]:
        """As usual."""
        return {}

    def measured(self, server_round: int, arrays: ArrayRecord | Mapping[str, Array]) -> Mapping[str, float]:
        """Loss and accuracy on the test split, accuracy on the validation split, and the success of an attack on the data."""
        known = arrays.to_torch_state_dict() if isinstance(arrays, ArrayRecord) else _tensors(arrays)
        self._measured.load_state_dict(known)
        loss, accuracy = evaluate(self._measured, *self._test)
        found = {"loss": loss, "accuracy": accuracy, "validation_accuracy": evaluate(self._measured, *self._validation)[1]}
        return found if self._triggered is None else found | {"attack_success": evaluate(self._measured, *self._triggered)[1]}

    def harm(self, step: ServerStep) -> Harm | None:
        """The error on training data."""
        return ModelError(self.task, step)

    def servers_own(self, rule: Rule | None) -> Mapping[str, Any]:
        """By the validation split, and random inputs."""
        return ServersOwn(self.task, self.net, self.data).arguments(rule)

    def notices(self) -> list[str]:
        """None."""
        return []


def _tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(value) for name, value in arrays.items()}
