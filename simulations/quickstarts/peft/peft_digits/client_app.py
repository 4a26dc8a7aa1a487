"""The clients of a Flower app with adapters by Hugging Face's PEFT."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from peft import get_peft_model_state_dict, set_peft_model_state_dict

from flwr_byzantine import attacks
from flwr_byzantine.mods import byzantine_mod
from peft_digits.task import accuracy, load_data, load_model
from peft_digits.task import train as trained


def is_malicious(context):
    """Whether this client attacks."""
    return context.node_config["partition-id"] < context.run_config["num-malicious"]


app = ClientApp(mods=[byzantine_mod(attacks.SignFlip(scale=10.0), nodes=is_malicious)])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Go on from the server's adapters with the client's own data."""
    x, _, y, _ = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    epochs, batch_size, rate = (context.run_config[key] for key in ("local-epochs", "batch-size", "learning-rate"))
    model = load_model()
    set_peft_model_state_dict(model, message.content["arrays"].to_torch_state_dict())
    metrics = MetricRecord({"train-loss": trained(model, x, y, epochs, batch_size, rate), "num-examples": len(x)})
    return Message(RecordDict({"arrays": ArrayRecord(get_peft_model_state_dict(model)), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Try the server's adapters on the client's own data."""
    _, x, _, y = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    model = load_model()
    set_peft_model_state_dict(model, message.content["arrays"].to_torch_state_dict())
    metrics = MetricRecord({"num-examples": len(x), "accuracy": accuracy(model, x, y)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
