"""The ClientApp: trains and evaluates on its own data; with `malicious = true` the one of partition 0 sends its update reversed."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn
from torch.utils.data import DataLoader

from flwr_byzantine import attacks
from flwr_byzantine.mods import byzantine_mod

from . import task


def attacks_here(context: Context) -> bool:
    """Whether this client is the malicious one."""
    return bool(context.run_config["malicious"]) and context.node_config["partition-id"] == 0


app = ClientApp(mods=[byzantine_mod(attacks.SignFlip(scale=10.0), nodes=attacks_here)])


def received(message: Message, context: Context) -> tuple[nn.Module, DataLoader, DataLoader]:
    """The model as it was broadcast, and this SuperNode's data."""
    net = task.model()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return net, *task.loaders(int(context.node_config["partition-id"]), int(context.node_config["num-partitions"]))


@app.train()
def train(message: Message, context: Context) -> Message:
    """The model after one pass over the local data."""
    net, data, _ = received(message, context)
    metrics = MetricRecord({"num-examples": len(data.dataset), "train-loss": task.train(net, data)})
    return Message(content=RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """The accuracy of the model on local data that nobody trains on."""
    net, _, data = received(message, context)
    metrics = MetricRecord({"num-examples": len(data.dataset), "accuracy": task.evaluate(net, data)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)
