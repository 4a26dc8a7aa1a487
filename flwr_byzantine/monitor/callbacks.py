"""Callbacks for `on_report=` that hand each round to other people's dashboards, each by its own client library.

A library is imported when its callback is made, so that a missing one is said before the run begins. A callback opens its log with the
first report, anew for each run, and goes on with that of a run that goes on. It may be a context: `with TensorBoard("logs") as board:`.
"""

from __future__ import annotations

import atexit
import importlib
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from flwr_byzantine.monitor.quantities import evaluated, measures
from flwr_byzantine.strategy.report import RoundReport

PREFIX = "byzantine"
UNNAMED = "unnamed"
RUN = "flwr_byzantine.run"  # MLflow's tag with the run's id


class Dashboard:
    """What the callbacks have in common.

    Args:
        per_node: hand over the score, weight and seconds of each node too.

    Attributes:
        run: id of the run whose log is open; empty before the first report.
    """

    library: ClassVar[str]
    extra: ClassVar[str]

    def __init__(self, per_node: bool = False) -> None:
        self.per_node, self.run = per_node, ""
        self._module = imported(self.library, self.extra, type(self).__name__)
        self._early: list[tuple[int, dict[str, float]]] = []  # evaluated before the first round
        atexit.register(self.close)

    def __call__(self, report: RoundReport) -> None:
        """Log a round."""
        self._switch(report)
        self._log(report.server_round, measures(report, self.per_node))

    def _switch(self, report: RoundReport) -> None:
        """Open the log of the report's run, where another one or none is open."""
        if self.run == (report.run or UNNAMED):
            return
        if self.run:
            self._end()
        self._open(report)
        self.run = report.run or UNNAMED
        early, self._early = self._early, []
        for step, numbers in early:
            self._log(step, numbers)

    def evaluated(self, server_round: int, where: str, metrics: Mapping[str, float]) -> None:
        """Log what an evaluation of the round's model has found."""
        numbers = evaluated(where, dict(metrics))
        if self.run:
            self._log(server_round, numbers)
        else:
            self._early.append((server_round, numbers))

    def close(self) -> None:
        """End the log, so that all of it is written; done at the end of the program too."""
        if self.run:
            self.run = ""
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __deepcopy__(self, _: object) -> Self:
        """The same: copies of a strategy log to one place."""
        return self

    def _open(self, report: RoundReport) -> None:
        raise NotImplementedError  # each library's own

    def _log(self, step: int, numbers: Mapping[str, float]) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError


def imported(library: str, extra: str, name: str) -> Any:
    """A client library.

    Raises:
        ModuleNotFoundError: it is missing; one sentence says what to install.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        package = library.split(".", 1)[0].replace("_", "-")
        said = f"{name} needs the library {package} ({error}): pip install {package}, or flwr-byzantine with its extra [{extra}]"
        raise ModuleNotFoundError(said, name=library) from None


class TensorBoard(Dashboard):
    """Writes event files for `tensorboard --logdir`.

    Args:
        logdir: a folder, made where it is missing.
        per_node: also the score, weight and seconds of each node.

    Example:
        >>> TensorBoard("logs")  # doctest: +SKIP
    """

    library, extra = "tensorboard.summary", "tensorboard"

    def __init__(self, logdir: str | Path, per_node: bool = False) -> None:
        super().__init__(per_node)
        self.logdir = Path(logdir).absolute()

    def _open(self, report: RoundReport) -> None:
        self._writer = self._module.Writer(str(self.logdir))

    def _log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(f"{PREFIX}/{name}", value, step)
        self._writer.flush()

    def _end(self) -> None:
        self._writer.close()


class MLflow(Dashboard):
    """Logs to an MLflow tracking store: a server, a database, or files.

    A run that goes on after a restart goes on in the MLflow run that it began.

    Args:
        experiment: its name; made where it is missing.
        tracking_uri: of the store, e.g. "sqlite:///mlflow.db" or a server's address; None: MLflow's own setting.
        run_name: as MLflow shows it; None: the first letters of the run's id.
        per_node: also the score, weight and seconds of each node.

    Example:
        >>> MLflow("my federation", "sqlite:///mlflow.db")  # doctest: +SKIP
    """

    library, extra = "mlflow", "mlflow"

    def __init__(
        self, experiment: str = "flwr-byzantine", tracking_uri: str | None = None, run_name: str | None = None, per_node: bool = False
    ) -> None:
        super().__init__(per_node)
        self.experiment, self.tracking_uri, self.run_name = experiment, tracking_uri, run_name

    def _open(self, report: RoundReport) -> None:
        self._client = self._module.MlflowClient(self.tracking_uri)
        known = self._client.get_experiment_by_name(self.experiment)
        place = self._client.create_experiment(self.experiment) if known is None else known.experiment_id
        found = self._client.search_runs([place], f"tags.`{RUN}` = '{report.run}'") if report.run.isalnum() else []
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, "RUNNING")
            return
        run = self._client.create_run(place, tags={RUN: report.run}, run_name=self.run_name or report.run[:8])
        self._id = run.info.run_id
        self._client.log_param(self._id, "rule", report.rule)

    def _log(self, step: int, numbers: Mapping[str, float]) -> None:
        make, now = self._module.entities.Metric, int(1000 * time.time())
        named = {re.sub(r"[^\w ./-]", "_", f"{PREFIX}/{name}", flags=re.ASCII): value for name, value in numbers.items()}
        entries = [make(name, value, now, step) for name, value in named.items()]
        for begin in range(0, len(entries), 1000):  # the most that MLflow takes at once
            self._client.log_batch(self._id, entries[begin : begin + 1000])

    def _end(self) -> None:
        self._client.set_terminated(self._id)


class WandB(Dashboard):
    """Logs to Weights & Biases, online or offline as `WANDB_MODE` or `mode=` says.

    A run that goes on after a restart goes on in the run of Weights & Biases that it began.

    Args:
        project: its name.
        per_node: also the score, weight and seconds of each node.
        settings: further arguments of `wandb.init`: mode, dir, entity, name, tags, ...

    Example:
        >>> WandB("my federation", mode="offline")  # doctest: +SKIP
    """

    library, extra = "wandb", "wandb"

    def __init__(self, project: str = "flwr-byzantine", per_node: bool = False, **settings: Any) -> None:
        super().__init__(per_node)
        self.project, self.settings = project, settings

    def _open(self, report: RoundReport) -> None:
        known = {"id": report.run, "resume": "allow"} if report.run else {}
        self._run = self._module.init(project=self.project, **{**known, "config": {"rule": report.rule}, **self.settings})
        self._run.define_metric("server_round")
        self._run.define_metric(f"{PREFIX}/*", step_metric="server_round")

    def _log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({"server_round": step, **{f"{PREFIX}/{name}": value for name, value in numbers.items()}})

    def _end(self) -> None:
        self._run.finish()
