"""The ClientApp of every task: it reads what to do from the message, so that one app serves all experiments."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import lru_cache, partial
from typing import Any, cast

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from flwr_byzantine import attacks
from flwr_byzantine.attacks import Attack, DataAttack
from flwr_byzantine.attacks.data import Predict
from flwr_byzantine.attacks.poisoning import predictor
from flwr_byzantine.client import gradient
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.tasks import malicious, training
from flwr_byzantine.experiments.tasks.cache import Cache
from flwr_byzantine.experiments.tasks.data import load
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.experiments.tasks.participation import WHO, attackers
from flwr_byzantine.experiments.tasks.poisoned import poison
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
    app.train()(train)
    app.evaluate()(evaluate)
    app.query(WHO)(identify)
    return app


def train(message: Message, context: Context) -> Message:
    """What a client answers: the model that it trained, or under "byzantine-sgd" a gradient."""
    task, net, client = _prepare(message, context)
    config = _config(message)
    server_round = cast(int, config["server-round"])
    generator = training.randomness(task, client, server_round)
    attack = mounted(task, client, config)
    x, y = examples(task, client, attack, net)
    if task.method == "byzantine-sgd":
        rows = training.one_batch(task, len(x), generator)
        with training.drawing(net, x, generator):
            options: dict[str, Any] = {"momentum": task.momentum_of(client), "momentum_form": task.momentum_form, "full": [(x, y)]}
            found = gradient(net, training.objective(task), [(x[rows], y[rows])], context=context, told=config, **options)
        arrays, loss = found.arrays, {"loss": found.loss}
    else:
        if attack is not None and malicious.trains_itself(task, attack):
            loss = {"train-loss": malicious.train(net, task, attack, client, server_round)}
        else:
            loss = {"train-loss": training.train(net, task, x, y, generator, task.lr_in(server_round))}
        arrays = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    metrics = MetricRecord({"num-examples": len(x), "partition-id": client, **loss})
    return Message(content=RecordDict({"arrays": pack(arrays), "metrics": metrics}), reply_to=message)


def evaluate(message: Message, context: Context) -> Message:
    """What a client answers to an evaluation: loss and accuracy of the broadcast model on its own data."""
    task, net, client = _prepare(message, context)
    x, y = training.local_data(task, client)
    loss, accuracy = training.evaluate(net, x, y)
    metrics = MetricRecord({"num-examples": len(x), "partition-id": client, "loss": loss, "accuracy": accuracy})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)


def identify(message: Message, context: Context) -> Message:
    """What a client answers to a query: which one it is."""
    metrics = MetricRecord({"partition-id": int(context.node_config["partition-id"])})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)


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


def _config(message: Message) -> ConfigRecord:
    return cast(ConfigRecord, message.content["config"])


def mounted(task: Task, client: int, config: ConfigRecord) -> DataAttack | None:
    """The attack on data that the client carries out in this round, if it is malicious."""
    attacks_data = ATTACK in config and client in attackers(task, cast(int, config["server-round"]))
    return _attack(str(config[ATTACK]), str(config[OPTIONS])) if attacks_data else None


def examples(task: Task, client: int, attack: DataAttack | None, net: nn.Module | None = None) -> Examples:
    """The client's data, poisoned where there is an attack; by the model as it is, where that attack asks it."""
    clean = training.local_data(task, client)
    if attack is None:
        return clean
    make = partial(_poisoned, clean, attack, task, client)
    return make(predictor(net)) if attack.asks_model else _POISONED.get(client, [clean, attack], make)


def _poisoned(clean: Examples, attack: DataAttack, task: Task, client: int, predict: Predict | None = None) -> Examples:
    return poison(load(task), attack, clean, task.seed, client, predict)


def _prepare(message: Message, context: Context) -> tuple[Task, nn.Module, int]:
    """The task, its model with the broadcast values, and which client this is."""
    torch.set_num_threads(1)
    task = _task(str(_config(message)[TASK]))
    net = _net(task)
    data = [array.data for array in cast(ArrayRecord, message.content["arrays"]).values()]
    values = _BROADCAST.get(None, data, lambda: [torch.from_numpy(unpack(part).copy()) for part in data])
    torch._foreach_copy_(list(net.state_dict().values()), values)
    return task, net, int(context.node_config["partition-id"])


# The clients of a process are asked one after another, for the same task and with the same broadcast model.
_POISONED: Cache[Examples] = Cache(size=training.CLIENTS)
_BROADCAST: Cache[list[torch.Tensor]] = Cache(size=1)


@lru_cache(maxsize=8)
def _attack(name: str, options: str) -> DataAttack:
    return cast(DataAttack, attacks.get(name)(**json.loads(options)))


@lru_cache(maxsize=8)
def _task(text: str) -> Task:
    return Task.from_json(text)


@lru_cache(maxsize=2)
def _net(task: Task) -> nn.Module:
    """One model for all clients of a process: each loads the broadcast one before it does anything."""
    return model(task)
