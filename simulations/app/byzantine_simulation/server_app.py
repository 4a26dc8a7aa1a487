"""The ServerApp: one federation under attack, in simulation and in a deployment alike."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from logging import INFO, WARNING
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.common import log
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, Strategy

from byzantine_simulation import task
from byzantine_simulation.settings import SIMULATE, Settings
from flwr_byzantine import ByzantineSGD, Robust, rules
from flwr_byzantine.adversary import AdversarialGrid, by_partition

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one federation and say what came of it."""
    settings = Settings.read(context.run_config)
    settings.require_place()
    nodes = connected(grid, settings.wait)
    malicious, rule = settings.malicious(nodes), settings.rule_for(nodes)
    log(INFO, "%d SuperNodes, %d malicious: %s against %s", nodes, malicious, rule or "FedAvg", settings.attack)
    if not malicious and settings.num_malicious < 0:
        log(WARNING, "so few that none is malicious; for 20, of which 4 attack: %s", SIMULATE)
    strategy, history = strategy_of(settings, rule, nodes), History(settings)
    model = ArrayRecord(task.model(settings).state_dict())
    told = ConfigRecord({"num-malicious": malicious})
    strategy.start(attacked(grid, settings, rule, malicious), model, settings.num_server_rounds, train_config=told, evaluate_fn=history)
    log(INFO, "final accuracy %.4f", history.accuracy[-1])
    if settings.results:
        found = {"nodes": nodes, "malicious": malicious, "accuracy": history.accuracy, "loss": history.loss}
        Path(settings.results).write_text(json.dumps({**found, "config": asdict(settings)}, indent=1), encoding="utf-8")


def connected(grid: Grid, quiet: float) -> int:
    """The number of SuperNodes, once there is one and none has come for so many seconds."""
    count, since = 0, time.monotonic()
    while not count or time.monotonic() - since < quiet:
        found = len(list(grid.get_node_ids()))
        if found != count:
            count, since = found, time.monotonic()
        time.sleep(0.2)
    return count


def strategy_of(settings: Settings, rule: rules.Rule | None, nodes: int) -> Strategy:
    """Flower's FedAvg, or the rule over it."""
    average = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
    reports = settings.reports or None
    if settings.method == "byzantine-sgd":
        return ByzantineSGD(rule or rules.Mean(), step_size=settings.lr, strategy=average, report_path=reports)
    return average if rule is None else Robust(rule, average, report_path=reports)


def attacked(grid: Grid, settings: Settings, rule: rules.Rule | None, malicious: int) -> Any:
    """The grid through which the first partitions attack; itself where none does."""
    attack = settings.mounted()
    if attack is None or not malicious:
        return grid
    return AdversarialGrid(grid, attack, by_partition(range(malicious)), rule=rule or rules.Mean(), seed=settings.seed)


@dataclass
class History:
    """The strategy's `evaluate_fn`: measures each model on the test set."""

    settings: Settings
    accuracy: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)

    def __call__(self, server_round: int, arrays: ArrayRecord) -> MetricRecord:
        """Measure and log the model after a round; round 0 is the first one."""
        net = task.model(self.settings)
        net.load_state_dict(arrays.to_torch_state_dict())
        _, examples = task.load(self.settings.dataset, self.settings.data_root, self.settings.seed)
        loss, accuracy = task.test(net, examples)
        self.loss.append(loss)
        self.accuracy.append(accuracy)
        log(INFO, "round %d: test accuracy %.4f", server_round, accuracy)
        return MetricRecord({"accuracy": accuracy, "loss": loss})
