"""The nodes of the benchmark: each sends the model back with small steps of its own; there is nothing to train."""

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    """The model, moved by noise that is drawn anew for each node and round."""
    rng = np.random.default_rng([context.node_config["partition-id"], message.content["config"]["server-round"]])
    moved = {name: array.numpy() + rng.standard_normal(array.shape, np.float32) for name, array in message.content["arrays"].items()}
    arrays = ArrayRecord({name: Array(value) for name, value in moved.items()})
    return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 10})}), reply_to=message)
