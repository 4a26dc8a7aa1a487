"""One federation of a project's clients."""

from __future__ import annotations

from typing import Any

from flwr_byzantine.attacks import Attack
from flwr_byzantine.experiments.apps.client import AppClient
from flwr_byzantine.experiments.apps.learned import AppModel
from flwr_byzantine.experiments.apps.project import App
from flwr_byzantine.experiments.measures import History
from flwr_byzantine.experiments.tasks.engines import run_on
from flwr_byzantine.experiments.tasks.federation import federate
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.rules import Rule


def federate_app(
    app: App, task: Task, rule: Rule | None, attack: Attack | None, rounds: int, engine: str, every: int = 1, processes: int | None = None
) -> History:
    """Run one federation of a project's clients; what is measured is as in `tasks.federation.federate`.

    Args:
        app: the project, with its run config.
        task: who takes part; its data, model and training play no role.
        rule: a rule or chain, or None.
        attack: or None.
        rounds: number of rounds.
        engine: "local" or "ray".
        every: rounds from one evaluation to the next.
        processes: see `tasks.engines.run_on`.
    """
    client, histories = AppClient(app, task.seed), []

    def main(grid: Any) -> None:
        learned = AppModel(client, grid, task.num_clients)
        histories.append(federate(grid, task, rule, attack, rounds, evaluate_every=every, learned=learned)[0])

    run_on(engine, main, task.num_clients, processes, client)
    return histories[0]
