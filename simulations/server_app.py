"""The ServerApp that `flwr run .` starts."""

from __future__ import annotations

import json
from dataclasses import asdict
from logging import INFO
from pathlib import Path

from flwr.app import Context
from flwr.common import log
from flwr.serverapp import Grid, ServerApp

from flwr_byzantine.experiments.demo.apps import federate
from simulations.settings import Settings

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one federation and report it."""
    settings = Settings.read(context.run_config)
    outcome, _ = federate(grid, settings.task, settings.rule, settings.attack, settings.num_malicious, settings.rounds, _say)
    log(
        INFO, "final accuracy %.4f, malicious kept %.1f, honest dropped %.1f", outcome.final, outcome.malicious_kept, outcome.honest_dropped
    )
    if settings.results:
        text = {"config": dict(context.run_config), "final_accuracy": outcome.final, **asdict(outcome)}
        Path(settings.results).write_text(json.dumps(text, indent=1), encoding="utf-8")


def _say(server_round: int, accuracy: float) -> None:
    log(INFO, "round %d: test accuracy %.4f", server_round, accuracy)
