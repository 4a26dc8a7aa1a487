"""The server of a Flower app in the legacy API."""

from flwr.app import Context
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig

from flwr_byzantine.legacy import FedTrimmedAvg as Strategy  # was: from flwr.server.strategy import FedAvg as Strategy
from legacy_digits.task import accuracy, first_model, load_data


def server_fn(context: Context):
    """The strategy, which tries each round's model on data of the server's own, and the number of rounds."""
    rounds, (_, x, _, y) = context.run_config["num-server-rounds"], load_data(0, 1)

    def evaluate(server_round, parameters, config):
        found = accuracy(parameters, x, y)
        if server_round == rounds:
            print(f"test accuracy: {100 * found:.1f} %")
        return 1 - found, {"accuracy": found}

    strategy = Strategy(initial_parameters=ndarrays_to_parameters(first_model()), evaluate_fn=evaluate)
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=rounds))


app = ServerApp(server_fn=server_fn)
