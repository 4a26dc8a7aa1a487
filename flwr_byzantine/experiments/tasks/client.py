"""The ClientApp of every task: it reads what to do from the message, so that one app serves all experiments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from flwr_byzantine import attacks
from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.attacks import Attack
from flwr_byzantine.attacks.poisoning import poisoned, predictor
from flwr_byzantine.client import gradient
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks import training
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.experiments.tasks.training import Examples
from flwr_byzantine.flower.codec import pack, unpack

TASK, ATTACK, OPTIONS = "task", "attack", "attack-options"  # config keys; the attack's only for one on the training data


def client_app() -> ClientApp:
    """A ClientApp that reads its `Task` from the message's config.

    Example:
        >>> from flwr_byzantine.flower.local import LocalGrid
        >>> len(LocalGrid(client_app(), 20).get_node_ids())
        20
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        task, net, client = _prepare(message, context)
        config = message.content["config"]
        generator = training.randomness(task, client, int(config["server-round"]))  # type: ignore[arg-type]
        x, y = _examples(task, client, net, config)
        identity = {"num-examples": len(x), "partition-id": client}
        if task.method == "byzantine-sgd":
            batch = training.one_batch(task, x, y, generator)
            found = gradient(net, training.objective(task), [batch], context=context, momentum=task.momentum)
            return Message(
                content=RecordDict({"arrays": pack(found.arrays), "metrics": MetricRecord({**identity, "loss": found.loss})}),
                reply_to=message,
            )
        metrics = MetricRecord({**identity, "train-loss": training.train(net, task, x, y, generator)})
        return Message(content=RecordDict({"arrays": pack(_arrays(net)), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        task, net, client = _prepare(message, context)
        x, y = training.local_data(task, client)
        loss, accuracy = training.evaluate(net, x, y)
        metrics = MetricRecord({"num-examples": len(x), "partition-id": client, "loss": loss, "accuracy": accuracy})
        return Message(content=RecordDict({"metrics": metrics}), reply_to=message)

    return app


def config_of(task: Task, attack: Attack | None) -> dict[str, str]:
    """What the messages tell the clients; of attacks only those on training data, since the Grid mounts the others.

    Example:
        >>> list(config_of(Task(), attacks.SignFlip()))
        ['task']
    """
    if attack is None or not attack.poisons:
        return {TASK: task.to_json()}
    local = [item.name for item in fields(attack) if not item.compare and getattr(attack, item.name) is not None]
    if local:
        raise InvalidParameter(f"{type(attack).__name__}: {local[0]} cannot be sent to clients in a message; leave it out here")
    options = {item.name: getattr(attack, item.name) for item in fields(attack) if item.compare}
    return {TASK: task.to_json(), ATTACK: type(attack).__name__, OPTIONS: json.dumps(options)}


@lru_cache(maxsize=8)
def _attack(name: str, options: str) -> Attack:
    return attacks.get(name)(**json.loads(options))


def _examples(task: Task, client: int, net: nn.Module, config: Mapping[str, Any]) -> Examples:
    """The client's data, poisoned where it is malicious and the attack is one on data; the same examples in each round."""
    if ATTACK not in config or client >= task.num_malicious:
        return training.local_data(task, client)
    attack: Any = _attack(config[ATTACK], config[OPTIONS])
    return _poisoned(task, client, attack, net) if attack.asks_model else _POISONED.of(task, client, attack)


def _poisoned(task: Task, client: int, attack: Any, net: nn.Module | None = None) -> Examples:
    predict = None if net is None else predictor(net)
    return poisoned(training.local_data(task, client), attack, load(task).classes, task.seed, client, predict=predict)  # type: ignore[no-any-return]


class _Poisoned:
    """The poisoned examples of each client, made once for all rounds: those of the last data, attack and seed."""

    def __init__(self) -> None:
        self._of: tuple[Any, ...] = ()
        self._found: dict[int, tuple[torch.Tensor, Examples]] = {}

    def of(self, task: Task, client: int, attack: Attack) -> Examples:
        """Those of one client, from its examples as they are now."""
        now, clean = (load(task), attack, task.seed), training.local_data(task, client)[0]
        if not self._of or now[0] is not self._of[0] or now[1:] != self._of[1:]:
            self._of, self._found = now, {}
        if client not in self._found or self._found[client][0] is not clean:
            self._found[client] = clean, _poisoned(task, client, attack)
        return self._found[client][1]


_POISONED = _Poisoned()


def _arrays(net: nn.Module) -> dict[str, Array]:
    return {name: value.detach().numpy() for name, value in net.state_dict().items()}


def _prepare(message: Message, context: Context) -> tuple[Task, nn.Module, int]:
    torch.set_num_threads(1)
    task = _task(str(message.content["config"][TASK]))
    net = _net(task)
    _BROADCAST.load(net, message.content["arrays"])  # type: ignore[arg-type]
    return task, net, int(context.node_config["partition-id"])


@lru_cache(maxsize=8)
def _task(text: str) -> Task:
    return Task.from_json(text)


@lru_cache(maxsize=2)
def _net(task: Task) -> nn.Module:
    """One model for all clients of a process: each loads the broadcast one before it does anything."""
    return model(task)


class _Broadcast:
    """The last model received, as tensors: the clients of a process get the same one, one after another."""

    def __init__(self) -> None:
        self._data: list[bytes] = []
        self._values: list[torch.Tensor] = []

    def load(self, net: nn.Module, record: ArrayRecord) -> None:
        """Let the model have the values of the record, which are in its order."""
        data = [array.data for array in record.values()]
        if len(data) != len(self._data) or any(new is not old for new, old in zip(data, self._data, strict=True)):
            self._data, self._values = data, [torch.from_numpy(unpack(part).copy()) for part in data]
        torch._foreach_copy_(list(net.state_dict().values()), self._values)


_BROADCAST = _Broadcast()
