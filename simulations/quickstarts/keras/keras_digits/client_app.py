"""The clients of a Flower app with Keras."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_byzantine import attacks
from flwr_byzantine.mods import byzantine_mod
from keras_digits.task import load_data, load_model


def is_malicious(context):
    """Whether this client attacks."""
    return context.node_config["partition-id"] < context.run_config["num-malicious"]


app = ClientApp(mods=[byzantine_mod(attacks.SignFlip(scale=10.0), nodes=is_malicious)])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Go on from the server's model with the client's own data."""
    x, _, y, _ = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    settings = context.run_config
    model = load_model(settings["learning-rate"])
    model.set_weights(message.content["arrays"].to_numpy_ndarrays())
    history = model.fit(x, y, batch_size=settings["batch-size"], epochs=settings["local-epochs"], verbose=0).history
    metrics = MetricRecord({"num-examples": len(x), "train-loss": history["loss"][-1]})
    return Message(RecordDict({"arrays": ArrayRecord(model.get_weights()), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Try the server's model on the client's own data."""
    _, x, _, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    model = load_model()
    model.set_weights(message.content["arrays"].to_numpy_ndarrays())
    loss, accuracy = model.evaluate(x, y, verbose=0)
    metrics = MetricRecord({"num-examples": len(x), "loss": loss, "accuracy": accuracy})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
