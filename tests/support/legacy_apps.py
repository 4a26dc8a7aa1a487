"""The small project in Flower's legacy API."""

LEGACY_CLIENT = """
import numpy as np
from flwr.client import ClientApp, NumPyClient
from pull.task import quality

class Client(NumPyClient):
    def __init__(self, context):
        self.rate, self.partition = context.run_config["rate"], context.node_config["partition-id"]

    def get_parameters(self, config):
        return [np.zeros(2)]

    def fit(self, parameters, config):
        assert config["told"] == 7
        return [parameters[0] + self.rate * (1.0 + self.partition - parameters[0])], 1, {"word": "of no use"}

    def evaluate(self, parameters, config):
        return float(self.partition), 1 + self.partition, {"accuracy": quality(parameters[0])}

app = ClientApp(lambda context: Client(context).to_client())
"""
LEGACY_SERVER = """
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg

def server_fn(context):
    strategy = FedAvg(on_fit_config_fn=lambda server_round: {"told": 7})
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=3))

app = ServerApp(server_fn=server_fn)
"""
