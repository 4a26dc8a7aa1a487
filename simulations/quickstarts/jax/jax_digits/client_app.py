"""The clients of a Flower app with JAX and Flax."""

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_byzantine import attacks
from flwr_byzantine.mods import byzantine_mod
from jax_digits.task import accuracy, from_record, load_data, to_record
from jax_digits.task import train as trained


def is_malicious(context):
    """Whether this client attacks."""
    return context.node_config["partition-id"] < context.run_config["num-malicious"]


app = ClientApp(mods=[byzantine_mod(attacks.SignFlip(scale=10.0), nodes=is_malicious)])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Go on from the server's model with the client's own data."""
    x, _, y, _ = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    epochs, batch_size, rate = (context.run_config[key] for key in ("local-epochs", "batch-size", "learning-rate"))
    variables, loss = trained(from_record(message.content["arrays"]), x, y, epochs, batch_size, rate)
    metrics = MetricRecord({"num-examples": len(x), "train-loss": loss})
    return Message(RecordDict({"arrays": to_record(variables), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Try the server's model on the client's own data."""
    _, x, _, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    metrics = MetricRecord({"num-examples": len(x), "accuracy": accuracy(from_record(message.content["arrays"]), x, y)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
