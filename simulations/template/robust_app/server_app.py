"""The ServerApp: Flower's FedAvg, whose average is replaced by one that a share f of malicious replies cannot move far."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, Strategy

from flwr_byzantine import Robust

from . import task

ATTACKED = "flwr run . --stream --federation-config 'num-supernodes=10 client-resources-num-cpus=1' -c 'malicious=true min-supernodes=10'"
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds; the log says in each who was kept."""
    config = context.run_config
    rule, nodes, f = str(config["strategy"]), int(config["min-supernodes"]), float(config["f"])
    if rule != "fedavg" and config["malicious"] and int(f * nodes + 1e-9) < 1:
        raise ValueError(f"of {nodes} replies a share f = {f:g} is none, so that no malicious one is withstood; take more: {ATTACKED}")
    strategy: Strategy = FedAvg(min_train_nodes=nodes, min_evaluate_nodes=nodes, min_available_nodes=nodes)
    if rule != "fedavg":  # which is Flower's average alone, to see what it withstands
        strategy = Robust(rule, f=f, strategy=strategy, report_path=str(config["report"]) or None)
    strategy.start(grid, ArrayRecord(task.model().state_dict()), num_rounds=int(config["num-server-rounds"]))
