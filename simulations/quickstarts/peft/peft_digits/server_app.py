"""The server of a Flower app with adapters by Hugging Face's PEFT."""

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from peft import get_peft_model_state_dict, set_peft_model_state_dict

from flwr_byzantine import FedTrimmedAvg as Strategy  # was: from flwr.serverapp.strategy import FedAvg as Strategy
from peft_digits.task import accuracy, load_data, load_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train adapters, and try them on data of the server's own."""
    model, strategy = load_model(), Strategy()
    arrays = ArrayRecord(get_peft_model_state_dict(model))
    result = strategy.start(grid, arrays, num_rounds=context.run_config["num-server-rounds"])
    set_peft_model_state_dict(model, result.arrays.to_torch_state_dict())
    _, x, _, y = load_data(0, 1)
    print(f"test accuracy: {100 * accuracy(model, x, y):.1f} %")
