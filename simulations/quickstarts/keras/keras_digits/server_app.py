"""The server of a Flower app with Keras."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from flwr_byzantine import FedTrimmedAvg as Strategy  # was: from flwr.serverapp.strategy import FedAvg as Strategy
from keras_digits.task import load_data, load_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train a model, and try it on data of the server's own."""
    model, strategy = load_model(), Strategy()
    result = strategy.start(grid, ArrayRecord(model.get_weights()), num_rounds=context.run_config["num-server-rounds"])
    model.set_weights(result.arrays.to_numpy_ndarrays())
    _, x, _, y = load_data(0, 1)
    print(f"test accuracy: {100 * model.evaluate(x, y, verbose=0)[1]:.1f} %")
