"""The server of a Flower app with NumPy."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from flwr_byzantine import FedTrimmedAvg as Strategy  # was: from flwr.serverapp.strategy import FedAvg as Strategy
from numpy_digits.task import accuracy, first_model, load_data

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train a model, and try it on data of the server's own."""
    strategy = Strategy()
    result = strategy.start(grid, ArrayRecord(first_model()), num_rounds=context.run_config["num-server-rounds"])
    _, x, _, y = load_data(0, 1)
    print(f"test accuracy: {100 * accuracy(result.arrays.to_numpy_ndarrays(), x, y):.1f} %")
