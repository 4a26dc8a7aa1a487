"""The clients of a Flower app with NumPy."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_byzantine import attacks
from flwr_byzantine.mods import byzantine_mod
from numpy_digits.task import accuracy, load_data, trained


def is_malicious(context):
    """Whether this client attacks."""
    return context.node_config["partition-id"] < context.run_config["num-malicious"]


app = ClientApp(mods=[byzantine_mod(attacks.SignFlip(scale=10.0), nodes=is_malicious)])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Go on from the server's model with the client's own data."""
    x, _, y, _ = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    epochs, rate = context.run_config["local-epochs"], context.run_config["learning-rate"]
    model = trained(message.content["arrays"].to_numpy_ndarrays(), x, y, epochs, rate)
    metrics = MetricRecord({"num-examples": len(x), "train-accuracy": accuracy(model, x, y)})
    return Message(RecordDict({"arrays": ArrayRecord(model), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Try the server's model on the client's own data."""
    _, x, _, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    metrics = MetricRecord({"num-examples": len(x), "accuracy": accuracy(message.content["arrays"].to_numpy_ndarrays(), x, y)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
