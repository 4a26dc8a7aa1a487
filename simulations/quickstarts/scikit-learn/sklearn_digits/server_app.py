"""The server of a Flower app with scikit-learn."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from flwr_byzantine import FedTrimmedAvg as Strategy  # was: from flwr.serverapp.strategy import FedAvg as Strategy
from sklearn_digits.task import first_model, load_data, params, with_params

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train a model, and try it on data of the server's own."""
    strategy = Strategy()
    result = strategy.start(grid, ArrayRecord(params(first_model())), num_rounds=context.run_config["num-server-rounds"])
    model = with_params(first_model(), result.arrays.to_numpy_ndarrays())
    _, x, _, y = load_data(0, 1)
    print(f"test accuracy: {100 * model.score(x, y):.1f} %")
