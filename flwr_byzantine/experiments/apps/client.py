"""A project's ClientApp as the client of an experiment: the app itself is unchanged, and told nothing of the experiment."""

from __future__ import annotations

import io
import random
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_byzantine.errors import ByzantineError, InvalidParameter
from flwr_byzantine.experiments.apps import legacy
from flwr_byzantine.experiments.apps.loading import load
from flwr_byzantine.experiments.apps.project import App
from flwr_byzantine.experiments.tasks.participation import WHO
from flwr_byzantine.flower import compat
from flwr_byzantine.flower.records import configs_of, is_train, partition_in, round_in

PARTITION = "partition-id"
ROUND = "server_round"  # as legacy apps call it, whose servers send it themselves


@dataclass(frozen=True)
class AppClient:
    """A callable in the place of a ClientApp, which a process imports when the first message comes.

    The app gets its run config, messages in its own API's format, and generators of Python, NumPy and PyTorch that are seeded by
    seed, partition and round, so that its replies do not depend on which process handles a message. What it prints is dropped.
    Replies are marked with the partition, by which attacks find their clients.

    Args:
        app: the project.
        seed: of the federation.
    """

    app: App
    seed: int

    def __call__(self, message: Message, context: Context) -> Message:
        """The app's reply."""
        partition = int(context.node_config[PARTITION])
        if message.metadata.message_type == f"query.{WHO}":
            return Message(RecordDict({"metrics": MetricRecord({PARTITION: partition})}), reply_to=message)
        seed_all(self.seed, partition, _tell_round(message))
        own = Context(context.run_id, context.node_id, context.node_config, context.state, dict(self.app.config))
        try:
            with redirect_stdout(io.StringIO()):
                reply = self._reply(client_app(self.app), message, own)
        except (Exception, SystemExit) as error:
            raise ByzantineError(f"{message.metadata.message_type} on partition {partition}: {type(error).__name__}: {error}") from error
        context.state = own.state
        return mark(reply, partition) if is_train(message) else reply

    def _reply(self, app: Any, message: Message, context: Context) -> Message:
        if not compat.is_legacy(app) or legacy.is_legacy(message):
            return app(message, context)  # type: ignore[no-any-return]
        return legacy.translated(app(legacy.as_legacy(message), context), message)


def client_app(app: App) -> ClientApp:
    """The project's ClientApp.

    Raises:
        InvalidParameter: it cannot be imported, is none, or cannot train.
    """
    what = "its ClientApp"
    found = load(app.project.folder, app.project.clientapp, what)
    if not isinstance(found, ClientApp):
        raise InvalidParameter(f"{what} {app.project.clientapp!r} must be a flwr.clientapp.ClientApp, got {found!r}")
    if not compat.handles(found, "train"):
        raise InvalidParameter(f"{what} {app.project.clientapp!r} cannot train: it has neither a function for @app.train() nor a client_fn")
    return found


def seed_all(*words: int) -> None:
    """Seed the generators that an app may draw from without having seeded them."""
    state = int(np.random.SeedSequence(words).generate_state(1)[0])
    random.seed(state)
    np.random.seed(state)  # noqa: NPY002  the generator that others use
    torch.manual_seed(state)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(state)


def _tell_round(message: Message) -> int:
    """The server round, 0 before the first; also under the name that a server of the app's would have given it, where there is one."""
    configs = configs_of(message)
    server_round = round_in(configs) or 0
    for config in (config for config in configs if ROUND in config):
        config[ROUND] = server_round  # type: ignore[index]  # a ConfigRecord
    return server_round


def mark(reply: Message, partition: int) -> Message:
    """The reply, which says in its metrics which partition it is of, where it has metrics and does not say it already."""
    if reply.has_content() and partition_in(reply) is None:
        for record in reply.content.metric_records.values():
            record[PARTITION] = partition
    return reply
