"""What can be tried of an app before any of its clients trains."""

from __future__ import annotations

import io
import math
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flwr_byzantine.declare.own import in_a_line
from flwr_byzantine.errors import ByzantineError, InvalidParameter
from flwr_byzantine.experiments.apps.project import App

if TYPE_CHECKING:
    from flwr_byzantine.experiments.apps.learned import AppModel


@dataclass(frozen=True)
class Case:
    """An app with a run config, and the federation in which it is tried."""

    app: App
    num_clients: int
    seed: int


def tried(cases: Sequence[Case]) -> str:
    """What is wrong with an app, found in a process of its own, so that none of its modules is loaded here; "" where nothing was found.

    The first model of each case is made; that of the first one is evaluated, by the app's central function or by one of its clients.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(problem, list(cases)).result()
        except BrokenProcessPool:
            return "the process that tried it ended without a result; import its modules by themselves to see why"


def problem(cases: Sequence[Case]) -> str:
    """The same, in this process."""
    from flwr_byzantine.experiments.tasks.engines import quiet

    try:
        with quiet(), redirect_stdout(io.StringIO()):
            for number, case in enumerate(cases):
                _try(case, evaluate=number == 0)
    except ByzantineError as error:
        return " ".join(str(error).split())
    except (Exception, SystemExit) as error:
        return in_a_line(error)
    return ""


def _try(case: Case, evaluate: bool) -> None:
    from flwr_byzantine.experiments.apps.client import AppClient, client_app
    from flwr_byzantine.experiments.apps.learned import AppModel
    from flwr_byzantine.flower.local import LocalGrid

    client_app(case.app)
    client = AppClient(case.app, case.seed)
    with LocalGrid(client, case.num_clients) as grid:
        learned = AppModel(client, grid, case.num_clients)
        if evaluate:
            _evaluate(learned, case.app)


def _evaluate(learned: AppModel, app: App) -> None:
    """Evaluate the first model, by one client, or by all where that one has no examples."""
    try:
        found = learned.evaluate(0, learned.initial(), clients=1)
        found = learned.evaluate(0, learned.initial()) if math.isnan(found["accuracy"]) else found
    except (Exception, SystemExit) as error:
        if isinstance(error, InvalidParameter) or not (app.evaluate or app.initial):
            raise
        if not app.evaluate:
            raise InvalidParameter(f"{error}; is initial = {app.initial!r} the model that its clients train?") from error
        raise InvalidParameter(f"evaluate = {app.evaluate!r} raised {in_a_line(error)}; mend it, or name another function") from error
    nobody = [name for name in ("accuracy", *(["loss"] if app.loss else [])) if math.isnan(found[name])]
    if nobody:
        who = f"evaluate = {app.evaluate!r}" if app.evaluate else "its clients' evaluation"
        raise InvalidParameter(f"{who} finds no {nobody[0]} of the first model: it is NaN; mend it")
