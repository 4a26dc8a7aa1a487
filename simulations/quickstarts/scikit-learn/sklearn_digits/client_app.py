"""The clients of a Flower app with scikit-learn."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_byzantine import attacks
from flwr_byzantine.mods import byzantine_mod
from sklearn_digits.task import first_model, load_data, params, with_params


def is_malicious(context):
    """Whether this client attacks."""
    return context.node_config["partition-id"] < context.run_config["num-malicious"]


app = ClientApp(mods=[byzantine_mod(attacks.SignFlip(scale=10.0), nodes=is_malicious)])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Go on from the server's model with the client's own data."""
    x, _, y, _ = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    model = with_params(first_model(context.run_config["local-epochs"]), message.content["arrays"].to_numpy_ndarrays())
    model.fit(x, y)
    metrics = MetricRecord({"num-examples": len(x), "train-accuracy": model.score(x, y)})
    return Message(RecordDict({"arrays": ArrayRecord(params(model)), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Try the server's model on the client's own data."""
    _, x, _, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    model = with_params(first_model(), message.content["arrays"].to_numpy_ndarrays())
    metrics = MetricRecord({"num-examples": len(x), "accuracy": model.score(x, y)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
