"""The clients: each trains adapters of its own rank, and goes on from the best of that rank of the server's."""

import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from peft import get_peft_model_state_dict, set_peft_model_state_dict

from lora_digits import adapters, task

app = ClientApp()


def begun(broadcast, model, rank, rule):
    """The arrays that a client begins with; where factors are averaged, the first rows and columns of these."""
    if rule == "factors":
        return {name: torch.from_numpy(value) for name, value in adapters.cut(broadcast, rank).items()}
    return adapters.LORA.fitted(broadcast, get_peft_model_state_dict(model))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Go on from the server's adapter with the client's own data."""
    partition, config = context.node_config["partition-id"], context.run_config
    x, _, y, _ = task.load_data(partition, context.node_config["num-partitions"])
    rank, broadcast = adapters.RANKS[partition % 3], {name: array.numpy() for name, array in message.content["arrays"].items()}
    model = task.load_model(rank)
    start = begun(broadcast, model, rank, config["rule"])
    set_peft_model_state_dict(model, start)
    start = {name: value.numpy().copy() for name, value in start.items()}
    loss = task.train(model, x, y, config["local-epochs"], config["batch-size"], config["learning-rate"])
    trained = get_peft_model_state_dict(model)
    sent = {name: value.numpy() for name, value in trained.items()}
    if partition < config["num-malicious"]:
        attack = "flip" if config["attack"] == "hidden" and partition else config["attack"]
        sent = adapters.malicious(attack, broadcast, start, sent, partition)
    sent = adapters.padded(sent) if config["rule"] == "factors" else sent
    arrays = ArrayRecord({name: Array(value) for name, value in sent.items()})
    metrics = MetricRecord({"train-loss": loss, "num-examples": len(x)})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)
