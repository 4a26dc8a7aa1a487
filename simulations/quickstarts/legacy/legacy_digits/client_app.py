"""The clients of a Flower app in the legacy API."""

from flwr.app import Context
from flwr.client import ClientApp, NumPyClient

from flwr_byzantine import attacks
from flwr_byzantine.mods import byzantine_mod
from legacy_digits.task import accuracy, load_data, trained


class DigitsClient(NumPyClient):
    """Trains and tries models on its own share of the data."""

    def __init__(self, data, settings):
        self.data, self.settings = data, settings

    def fit(self, parameters, config):
        """Go on from the server's model."""
        x, _, y, _ = self.data
        return trained(parameters, x, y, self.settings["local-epochs"], self.settings["learning-rate"]), len(x), {}

    def evaluate(self, parameters, config):
        """Try the server's model."""
        _, x, _, y = self.data
        found = accuracy(parameters, x, y)
        return 1 - found, len(x), {"accuracy": found}


def client_fn(context: Context):
    """A client for each message."""
    data = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    return DigitsClient(data, context.run_config).to_client()


def is_malicious(context):
    """Whether this client attacks."""
    return context.node_config["partition-id"] < context.run_config["num-malicious"]


app = ClientApp(client_fn, mods=[byzantine_mod(attacks.SignFlip(scale=10.0), nodes=is_malicious)])
