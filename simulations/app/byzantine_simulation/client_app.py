"""The ClientApp: an honest client, which poisons its own data where it is malicious and the attack is one on data."""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from byzantine_simulation import task
from byzantine_simulation.settings import Settings
from flwr_byzantine import poison
from flwr_byzantine.client import gradient_reply

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the broadcast model on local data, or under "byzantine-sgd" answer with one gradient at it."""
    settings, (partition, _) = Settings.read(context.run_config), task.which(context)
    server_round, malicious = (int(message.content["config"][key]) for key in ("server-round", "num-malicious"))
    torch.set_num_threads(1)
    net, arrays = task.model(settings), message.content["arrays"]
    net.load_state_dict(arrays.to_torch_state_dict())
    x, y = task.local(settings, context)
    attack = settings.mounted()
    if attack is not None and partition < malicious:  # an attack on updates is mounted by the ServerApp
        x, y = poison.poisoned((x, y), attack, task.CLASSES, settings.seed, partition, predict=poison.predictor(net))
    torch.manual_seed(hash((settings.seed, partition, server_round)))
    metrics = {"num-examples": len(y), "partition-id": partition}
    if settings.method == "byzantine-sgd":
        rows = torch.randint(len(y), (settings.batch_size,))
        batches = [(x[rows], y[rows])]
        return gradient_reply(message, context, net, task.loss, batches, momentum=settings.worker_momentum, metrics=metrics)
    metrics["train-loss"] = task.train(net, (x, y), settings)
    content = RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": MetricRecord(metrics)})
    return Message(content=content, reply_to=message)
