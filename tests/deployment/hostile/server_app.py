"""The servers of both APIs: a trimmed mean under f = 1 of five nodes; each notes what every round took, and what came of it."""

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import ServerAppComponents, ServerConfig
from flwr.serverapp import ServerApp

import flwr_byzantine.legacy
from flwr_byzantine import FedTrimmedAvg

START = np.zeros(1000, np.float32)


class Notes:
    """What happened, in the file that the run's configuration names; written anew after each exchange with the nodes."""

    def __init__(self, config):
        self.path, self.modes = Path(config["results"]), {kind: config[kind].split() for kind in ("train", "evaluate")}
        self.rounds = len(self.modes["train"])
        self.folder, self.exchanges = self.path.with_suffix(".told"), []
        self.folder.mkdir()

    def begin(self, kind, number):
        """An exchange begins; what clients, honest and other, are told."""
        mode = self.modes[kind][number - 1]
        self.exchanges.append({"kind": kind, "round": number, "mode": mode, "start": time.time()})
        return {"server-round": number, "mode": mode, "folder": str(self.folder)}

    def end(self):
        """All replies are there that will be."""
        self.exchanges[-1].setdefault("end", time.time())

    def result(self, found, reports):
        """What became of them: the values of the model, or the metrics."""
        self.exchanges[-1] = {"found": found, "decided": time.time()} | self.exchanges[-1]
        reports = [json.loads(report.to_json()) for report in reports]
        self.path.with_suffix(".part").write_text(json.dumps({"exchanges": self.exchanges, "reports": reports}))
        self.path.with_suffix(".part").rename(self.path)


class Watched(FedTrimmedAvg):
    """Of the Message API."""

    def configure_train(self, server_round, arrays, config, grid):
        """Note the time."""
        config.update(self.notes.begin("train", server_round))
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round, replies):
        """Note the time and the model."""
        self.notes.end()
        arrays, metrics = super().aggregate_train(server_round, replies)
        self.notes.result(arrays and sorted(set(arrays["w"].numpy().tolist())), self.reports)
        return arrays, metrics

    def configure_evaluate(self, server_round, arrays, config, grid):
        """Nobody, where the run's configuration names no mode."""
        if server_round > len(self.notes.modes["evaluate"]):
            return []
        config.update(self.notes.begin("evaluate", server_round))
        return super().configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round, replies):
        """Note the time and the metrics."""
        self.notes.end()
        metrics = super().aggregate_evaluate(server_round, replies)
        self.notes.result(metrics and dict(metrics), self.reports)
        return metrics


class WatchedLegacy(flwr_byzantine.legacy.FedTrimmedAvg):
    """Of the legacy API."""

    def aggregate_fit(self, server_round, results, failures):
        """Note the time and the model."""
        self.notes.end()
        parameters, metrics = super().aggregate_fit(server_round, results, failures)
        self.notes.result(parameters and sorted(set(parameters_to_ndarrays(parameters)[0].tolist())), self.reports)
        return parameters, metrics

    def configure_evaluate(self, server_round, parameters, client_manager):
        """Nobody, where the run's configuration names no mode."""
        if server_round > len(self.notes.modes["evaluate"]):
            return []
        return super().configure_evaluate(server_round, parameters, client_manager)

    def aggregate_evaluate(self, server_round, results, failures):
        """Note the time and the metrics."""
        self.notes.end()
        loss, metrics = super().aggregate_evaluate(server_round, results, failures)
        self.notes.result({"loss": loss, **metrics}, self.reports)
        return loss, metrics


message = ServerApp()


@message.main()
def main(grid, context):
    """One run of the Message API."""
    strategy = Watched(f=1, grace=context.run_config["grace"], min_train_nodes=5, min_available_nodes=5, min_evaluate_nodes=5)
    strategy.notes = Notes(context.run_config)
    strategy.start(grid, ArrayRecord({"w": Array(START)}), strategy.notes.rounds, timeout=120.0)


def server(context):
    """One run of the legacy API."""
    notes = Notes(context.run_config)
    strategy = WatchedLegacy(
        f=1,
        grace=context.run_config["grace"],
        min_fit_clients=5,
        min_available_clients=5,
        min_evaluate_clients=5,
        initial_parameters=ndarrays_to_parameters([START]),
        on_fit_config_fn=lambda number: notes.begin("train", number),
        on_evaluate_config_fn=lambda number: notes.begin("evaluate", number),
    )
    strategy.notes = notes
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=notes.rounds))


legacy = ServerApp(server_fn=server)
