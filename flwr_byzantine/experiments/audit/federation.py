"""The federations of an audit: thirteen clients, some of them hostile, in process and in either Flower API."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_byzantine.arrays.typing import Array as NDArray
from flwr_byzantine.experiments.audit.battery import Case, PlainReply, npy
from flwr_byzantine.experiments.audit.wire import Wire
from flwr_byzantine.flower.local import LocalGrid

N, ROUNDS = 13, 2  # enough for every rule with f = 2 to lose two replies
GOAL = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.full(4, -1.0, np.float32), "s": np.full(2, 0.5)}
SILENT = "no reply"
HONEST = Case("honest")
Model = dict[str, NDArray]
Outcome = tuple[Model | None, list[tuple[str, Any]]]
"""The final model (None where no round was aggregated), and the names and values of all metrics."""


def update(node: int, server_round: int, model: Model) -> PlainReply:
    """What an honest node answers: half of the way to the goal, with a little noise of its own."""
    rng = np.random.default_rng([node, server_round])
    arrays = {k: npy((w + (GOAL[k] - w) / 2 + 0.01 * rng.normal(size=w.shape)).astype(w.dtype)) for k, w in model.items()}
    return PlainReply(arrays, {"num-examples": 10, "loss": 1.0}, dict(model))


def evaluation(case: Case, hostile: bool) -> PlainReply:
    """What a node answers to an evaluation; cases that change arrays do nothing, since it has none."""
    reply = PlainReply({}, {"num-examples": 10, "loss": 1.0}, {})
    try:
        if hostile:
            case.spoil(reply)
    except (StopIteration, KeyError, IndexError):
        pass
    return reply


def start() -> Model:
    """The model before the first round."""
    return {name: np.zeros_like(value) for name, value in GOAL.items()}


def message_run(strategy: Any, case: Case, nodes: tuple[int, ...], rounds: int = ROUNDS) -> Outcome:
    """Rounds of a strategy of the Message API in which `nodes` are hostile."""
    local = LocalGrid(_app(case, nodes), N, spoil=lambda reply: None if reply.has_error() and reply.error.reason == SILENT else reply)
    grid: Any = local if case.tamper is None else Wire(local, nodes, case.tamper)
    result = strategy.start(grid, ArrayRecord({k: Array(v) for k, v in start().items()}), rounds)
    model = {name: array.numpy() for name, array in result.arrays.items()}
    records = [*result.train_metrics_clientapp.values(), *result.evaluate_metrics_clientapp.values()]
    return model or None, [item for record in records for item in record.items()]


def _app(case: Case, nodes: tuple[int, ...]) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Any) -> Message:
        model = {name: array.numpy() for name, array in cast(ArrayRecord, message.content["arrays"]).items()}
        reply = update(context.node_id, cast(int, cast(ConfigRecord, message.content["config"])["server-round"]), model)
        if context.node_id in nodes:
            case.spoil(reply)
        return _message(reply, message)

    @app.evaluate()
    def evaluate(message: Message, context: Any) -> Message:
        return _message(evaluation(case, context.node_id in nodes), message, with_arrays=False)

    return app


def _message(reply: PlainReply, to: Message, with_arrays: bool = True) -> Message:
    if reply.failure or reply.silent:
        return Message(Error(0, SILENT if reply.silent else reply.failure), reply_to=to)
    arrays = {name: Array("float32", (1,), "numpy.ndarray", data) for name, data in reply.arrays.items()}
    names, keys = ("arrays", "arrays2")[: reply.array_records if with_arrays else 0], ("metrics", "metrics2")[: reply.metric_records]
    content: dict[str, Any] = {name: ArrayRecord(dict(arrays)) for name in names}
    return Message(RecordDict(content | {key: MetricRecord(dict(reply.metrics)) for key in keys}), reply_to=to)
