"""The first model of a project, and what its server tells its clients."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.serverapp import ServerApp
from torch import nn

from flwr_byzantine.declare.own import in_a_line
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.apps.client import AppClient, seed_all
from flwr_byzantine.experiments.apps.loading import load, needed, taken
from flwr_byzantine.experiments.apps.project import App
from flwr_byzantine.flower.local import LocalGrid
from flwr_byzantine.flower.records import ROUNDS, array_key, is_train

SERVER, NAME_IT = "its ServerApp", 'name the first model by [app] initial = "module:function"'
KINDS = "a torch.nn.Module, a dict or a list of arrays, or an ArrayRecord"
CONFIG = "config"
PATIENT, MOST_NODES = 2, 65_536  # requests after which nodes become more, and how many at most


@dataclass(frozen=True)
class First:
    """What a federation of an app begins with.

    Attributes:
        arrays: the model.
        config: what each message tells the clients beside the round.
        arrays_key, config_key: what the two records are called in messages to the clients.
    """

    arrays: ArrayRecord
    config: Mapping[str, Any] = field(default_factory=dict)
    arrays_key: str = "arrays"
    config_key: str = CONFIG


def first(client: AppClient, num_clients: int) -> First:
    """The first model of an app, by the name that is given, else by its own ServerApp.

    Raises:
        InvalidParameter: there is none; the message says why.
    """
    app = client.app
    seed_all(client.seed)
    found = _told(client, num_clients) if not app.initial else First(_made(app))
    problem = _problem(found.arrays)
    if problem:
        whose, mend = (f"initial = {app.initial!r}", "mend it") if app.initial else (f"the first model of {app.project.name!r}", NAME_IT)
        raise InvalidParameter(f"{whose} {problem}; {mend}")
    return First(found.arrays, {**found.config, **app.train_config}, found.arrays_key, found.config_key)


def _problem(arrays: ArrayRecord) -> str:
    """Why a federation cannot begin with it; "" where it can."""
    found = {name: array.numpy() for name, array in arrays.items()}
    for name, value in found.items():
        if value.dtype.kind not in "fiubc":
            return f"has no numbers in the array {name!r}, but {value.dtype}"
        if not np.isfinite(value).all():
            return f"has values that are not finite in the array {name!r}"
    return "" if any(value.size and value.dtype.kind != "b" for value in found.values()) else "has no numbers to learn"


def _made(app: App) -> ArrayRecord:
    what = f"initial = {app.initial!r}"
    maker = load(app.project.folder, app.initial, "the first model")
    made = _called(maker, what, dict(app.config)) if callable(maker) and not isinstance(maker, nn.Module) else maker
    try:
        return as_arrays(made)
    except Exception as error:
        raise InvalidParameter(f"{what} must be or return {KINDS} ({in_a_line(error)})") from error


def _called(maker: Callable[..., Any], what: str, config: dict[str, Any]) -> Any:
    """What it returns; where it must be called with something, it gets the run config."""
    asked = list(filter(needed, taken(maker, what)))
    if len(asked) > 1 or any(one.kind == one.KEYWORD_ONLY for one in asked):
        given = f"but it needs {', '.join(one.name for one in asked)}; give the others a default"
        raise InvalidParameter(f"{what} must take nothing, or the run config as its one argument, {given}")
    try:
        with redirect_stdout(io.StringIO()):
            return maker(config) if asked else maker()
    except (Exception, SystemExit) as error:
        raise InvalidParameter(f"{what} raised {in_a_line(error)}; mend it, or name what is or returns {KINDS}") from error


def as_arrays(model: Any) -> ArrayRecord:
    """A model of a framework as Flower's arrays.

    Raises:
        TypeError: it is of no kind that is known.

    Example:
        >>> list(as_arrays(nn.Linear(2, 1))), list(as_arrays([np.zeros(3)]))
        (['weight', 'bias'], ['0'])
    """
    if isinstance(model, ArrayRecord):
        return model
    if isinstance(model, nn.Module):
        return ArrayRecord(model.state_dict())
    if isinstance(model, Mapping) and model and all(hasattr(value, "detach") for value in model.values()):
        return ArrayRecord(dict(model))
    if isinstance(model, Mapping):
        return ArrayRecord({str(name): Array(np.asarray(value)) for name, value in model.items()})
    if hasattr(model, "get_weights"):  # of Keras
        model = model.get_weights()
    if not isinstance(model, Sequence) or isinstance(model, str | bytes):
        raise TypeError(f"got {type(model).__name__}")
    return ArrayRecord([np.asarray(value) for value in model])


def _told(client: AppClient, num_clients: int) -> First:
    """What the app's ServerApp says in its first training message; it is run as far as that, and no further."""
    project = client.app.project
    if not project.serverapp:
        raise InvalidParameter(f"{project.name!r} has no ServerApp, whose first message would hold the first model; {NAME_IT}")
    server = load(project.folder, project.serverapp, SERVER)
    if not isinstance(server, ServerApp):
        raise InvalidParameter(f"{SERVER} {project.serverapp!r} must be a flwr.serverapp.ServerApp, got {server!r}; {NAME_IT}")
    grid: Any = ListeningGrid(client, num_clients)
    failure = ""
    try:
        with redirect_stdout(io.StringIO()):
            server(grid, Context(1, 0, {}, RecordDict(), dict(client.app.config)))
    except _Told:
        pass
    except (Exception, SystemExit) as error:
        failure = f": {in_a_line(error)}"
    if grid.told is None:
        raise InvalidParameter(f"{SERVER} {project.serverapp!r} ended before it sent a first model{failure}; mend it, or {NAME_IT}")
    return _in(grid.told)


def _in(message: Message) -> First:
    key = array_key(message)
    if key is None:
        raise InvalidParameter(f"{SERVER} sends {len(message.content.array_records)} models to a client, in place of one; {NAME_IT}")
    configs = message.content.config_records
    told = {name: value for record in configs.values() for name, value in record.items() if name != ROUNDS[0]}
    if key.startswith("fitins."):
        return First(ArrayRecord({name: Array(array.numpy()) for name, array in message.content.array_records[key].items()}), told)
    return First(message.content.array_records[key], told, key, next(iter(configs), CONFIG))


class _Told(BaseException):
    """Ends a ServerApp at its first training message; no `except Exception` of its own stops it."""


class ListeningGrid(LocalGrid):
    """A Grid that ends the ServerApp which uses it at the first training message, and keeps that.

    Where the ServerApp waits for more nodes than there are, they become twice as many each time that it asks. Other messages before
    it, such as a legacy
    server's for a first model, are answered by the app's own clients.

    Attributes:
        told: the message.
    """

    def __init__(self, client: AppClient, num_clients: int) -> None:
        super().__init__(client, num_clients)
        self.told: Message | None = None
        self._asked, self._thread = 0, threading.get_ident()
        self._pushed: list[Message] = []

    def get_node_ids(self) -> list[int]:
        """As many as the ServerApp waits for."""
        if self.told is not None and threading.get_ident() == self._thread:
            raise _Told  # a legacy server's clients have each a thread, in which such an error ends nothing
        self._asked += 1
        return list(range(1, min(self.n * 2 ** max(0, self._asked - PATIENT), MOST_NODES) + 1))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """The replies, unless there is or was a training message."""
        sent = list(messages)
        self.told = next(filter(is_train, sent), self.told)
        if self.told is not None:
            raise _Told
        return super().send_and_receive(sent, timeout=timeout)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """As `send_and_receive`, for an app with a loop of its own."""
        self._pushed = self.send_and_receive(messages)
        return [reply.metadata.reply_to_message_id for reply in self._pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies to what was pushed last."""
        return self._pushed
