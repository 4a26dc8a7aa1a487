"""The server of a Flower app with JAX and Flax."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from flwr_byzantine import FedTrimmedAvg as Strategy  # was: from flwr.serverapp.strategy import FedAvg as Strategy
from jax_digits.task import accuracy, first_model, from_record, load_data, to_record

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train a model, and try it on data of the server's own."""
    strategy = Strategy()
    result = strategy.start(grid, to_record(first_model()), num_rounds=context.run_config["num-server-rounds"])
    _, x, _, y = load_data(0, 1)
    print(f"test accuracy: {100 * accuracy(from_record(result.arrays), x, y):.1f} %")
