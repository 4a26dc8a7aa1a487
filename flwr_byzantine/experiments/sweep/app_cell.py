"""`AppCell`: one federation of a Flower app's own clients as a configuration, and what runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.apps.project import App, Project
from flwr_byzantine.experiments.defaults import DEFAULTS
from flwr_byzantine.experiments.results import snake
from flwr_byzantine.experiments.sweep.cell import Cell
from flwr_byzantine.experiments.tasks.task import ALL, Task
from flwr_byzantine.strategy.trusted import asks_server

if TYPE_CHECKING:
    from flwr_byzantine.experiments.measures import History

PARTICIPATION = ("num_clients", "num_malicious", "clients_per_round", "attackers", "attack_from", "server_momentum", "server_lr", "seed")
FEDERATION = (*PARTICIPATION, "strategy", "attack", "f", "plan_failure", "rounds", "engine", "evaluate_every")


def run_key(name: str) -> str:
    """The key of a cell for a name in the app's run config.

    Example:
        >>> run_key("learning-rate")
        'app_learning_rate'
    """
    return snake(f"app.{name}")


@dataclass(frozen=True)
class AppCell(Cell):
    """One federation of a sweep over an app.

    Attributes:
        config: all that determines its results: who takes part, the strategy and the attack, the whole run config, a hash of the app's
            Python files, and how it is begun and evaluated; not where it lies.
        app: the app, as this machine has it.
    """

    app: App

    @classmethod
    def over(cls, app: App, given: Mapping[str, Any]) -> AppCell:
        """A cell from checked values by key; those that are not given have their defaults, of the run config the app's.

        Raises:
            InvalidParameter: values that do not go together.
        """
        config = complete(app, given)
        for key in ("strategy", "attack"):
            config[key], config[f"{key}_options"] = config[key]
        project = app.project
        config |= {"app": project.name, "sources": project.sources, "clientapp": project.clientapp, "serverapp": project.serverapp}
        config |= {"initial": app.initial, "train_config": dict(app.train_config), "evaluate": app.evaluate}
        config |= {"accuracy_metric": app.accuracy, "loss_metric": app.loss}
        cell = cls(config, app)
        task = cell.task()
        config["clients_per_round"] = ALL if task.per_round == task.num_clients else task.per_round
        config["f"] = cell.faults()
        config["plan_failure"] = DEFAULTS["plan_failure"]  # which has no effect once f is a number
        cell.check()
        return cell

    def task(self, data_root: str = "") -> Task:
        """Who takes part; data, model and training are the app's."""
        return Task(**{key: self.config[key] for key in PARTICIPATION})

    def check(self) -> None:
        """As for every cell; and the clients must be the app's."""
        if self.config["engine"] == "batched":
            problem = "engine 'batched' trains the package's own tasks, not the clients of an app"
            raise InvalidParameter(f"{problem}; take 'local' or 'ray'")
        super().check()

    def check_server(self) -> None:
        """No strategy may ask for data of the server's own."""
        if asks_server(self.rule()):
            raise InvalidParameter(f"strategy {self.config['strategy']!r} asks for data of the server's own, which an app does not bring")

    def try_attack(self) -> None:
        """Mount the attack on made-up updates."""
        attack, name = self.attack(), self.config["attack"]
        if attack is not None and attack.poisons:
            problem = f"attack {name!r} poisons training data, which the app's own code alone loads"
            raise InvalidParameter(f"{problem}; take an attack on updates, or poison the data in the app: flwr_byzantine.attacks.poisoning")
        if getattr(attack, "goal", "") == "model" and not self.app.evaluate:
            problem = f"attack {name!r} with goal = 'model' must be able to evaluate models by itself"
            raise InvalidParameter(f'{problem}; name a central evaluation function by [app] evaluate = "module:function"')
        super().try_attack()

    @property
    def source(self) -> str:
        """The app's files."""
        return self.app.project.sources

    def lacking(self, root: str) -> str:
        """The app, where its folder is not here, or holds other files."""
        folder = Path(self.app.project.folder)
        try:
            found = Project.read(folder).sources
        except InvalidParameter as error:
            return f"[app] path: {error}"
        return "" if found == self.source else f"[app] path: {folder} holds other Python files here; copy the app anew"

    def packages(self) -> tuple[str, ...]:
        """Those that every cell depends on, and those that the app names."""
        return tuple(dict.fromkeys((*super().packages(), *self.app.project.packages)))

    def configured(self) -> App:
        """The app with the run config of this cell."""
        return replace(self.app, config={name: self.config[run_key(name)] for name in self.app.config})

    def federation(self, data_root: str, processes: int | None) -> History:
        """Run it; see `cell.run`."""
        from flwr_byzantine.experiments.apps.federation import federate_app

        rounds, engine, every = (self.config[key] for key in ("rounds", "engine", "evaluate_every"))
        return federate_app(self.configured(), self.task(), self.rule(), self.attack(), rounds, engine, every, processes)


def complete(app: App, given: Mapping[str, Any]) -> dict[str, Any]:
    """A value for every key; f is num_malicious where it is not given."""
    run_config = {run_key(name): value for name, value in app.config.items()}
    found = {**{key: DEFAULTS[key] for key in FEDERATION if key in DEFAULTS}, "engine": "local", **run_config, **given}
    return {"f": found["num_malicious"], **found}
