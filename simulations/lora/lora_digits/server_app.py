"""The server: a robust rule over the products of adapters, or plain averaging of their factors."""

from dataclasses import replace

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from peft import get_peft_model_state_dict, set_peft_model_state_dict

from flwr_byzantine import Robust
from lora_digits.adapters import LORA, RANKS
from lora_digits.task import accuracy, load_data, load_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train adapters, and try them on data of the server's own."""
    config, below = context.run_config, FedAvg(fraction_evaluate=0.0)
    lora = replace(LORA, aggregate=config["aggregate"])
    strategy = below if config["rule"] == "factors" else Robust(config["rule"], below, f=config["f"], lora=lora)
    arrays = ArrayRecord(get_peft_model_state_dict(load_model(max(RANKS))))
    result = strategy.start(grid, arrays, num_rounds=config["num-server-rounds"])
    found = result.arrays.to_torch_state_dict()
    rank = len(next(value for name, value in found.items() if "lora_A" in name))
    model = load_model(rank)
    set_peft_model_state_dict(model, found)
    _, x, _, y = load_data(0, 1)
    print(f"test accuracy: {100 * accuracy(model, x, y):.1f} %, adapter of rank {rank}")
