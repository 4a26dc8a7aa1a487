"""The federations of an audit: thirteen clients, some of them hostile, in process and in either Flower API."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import Code, EvaluateRes, FitRes, Parameters, Status, ndarrays_to_parameters, parameters_to_ndarrays

from flwr_byzantine.arrays.typing import Array as NDArray
from flwr_byzantine.experiments.audit.battery import PlainReply, npy
from flwr_byzantine.flower.local import LocalGrid

N, ROUNDS = 13, 2  # enough for every rule with f = 2 to lose two replies
GOAL = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.full(4, -1.0, np.float32)}
SILENT = "no reply"
Model = dict[str, NDArray]
Spoil = Callable[[PlainReply], None]
Outcome = tuple[Model | None, list[Any]]
"""The final model (None where no round was aggregated), and the values of all metrics."""


def _update(node: int, server_round: int, model: Model) -> PlainReply:
    rng = np.random.default_rng([node, server_round])
    arrays = {k: npy((w + (GOAL[k] - w) / 2 + 0.01 * rng.normal(size=w.shape)).astype(np.float32)) for k, w in model.items()}
    return PlainReply(arrays, {"num-examples": 10, "loss": 1.0}, dict(model))


def _start() -> Model:
    return {name: np.zeros_like(value) for name, value in GOAL.items()}


def message_run(strategy: Any, spoil: Spoil, nodes: tuple[int, ...]) -> Outcome:
    """Two rounds of a strategy of the Message API, in which `nodes` answer with spoilt replies."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Any) -> Message:
        model = {name: array.numpy() for name, array in cast(ArrayRecord, message.content["arrays"]).items()}
        reply = _update(context.node_id, cast(int, cast(ConfigRecord, message.content["config"])["server-round"]), model)
        if context.node_id in nodes:
            spoil(reply)
        return _message(reply, message)

    @app.evaluate()
    def evaluate(message: Message, context: Any) -> Message:
        reply = PlainReply({}, {"num-examples": 10, "loss": 1.0}, {})
        if context.node_id in nodes:
            _spoil_evaluation(spoil, reply)
        return _message(reply, message, evaluation=True)

    grid: Any = LocalGrid(app, N, spoil=lambda reply: None if reply.has_error() and reply.error.reason == SILENT else reply)
    result = strategy.start(grid, ArrayRecord({k: Array(v) for k, v in _start().items()}), ROUNDS)
    model = {name: array.numpy() for name, array in result.arrays.items()}
    records = [*result.train_metrics_clientapp.values(), *result.evaluate_metrics_clientapp.values()]
    return model or None, [value for record in records for value in record.values()]


def _spoil_evaluation(spoil: Spoil, reply: PlainReply) -> None:
    """Spoil an evaluation reply; cases that change arrays do nothing, since it has none."""
    try:
        spoil(reply)
    except (StopIteration, KeyError, IndexError):
        return


def _message(reply: PlainReply, to: Message, evaluation: bool = False) -> Message:
    if reply.failure or reply.silent:
        return Message(Error(0, SILENT if reply.silent else reply.failure), reply_to=to)
    arrays = {name: Array("float32", (1,), "numpy.ndarray", data) for name, data in reply.arrays.items()}
    names, keys = ("arrays", "arrays2")[: 0 if evaluation else reply.array_records], ("metrics", "metrics2")[: reply.metric_records]
    content: dict[str, Any] = {name: ArrayRecord(dict(arrays)) for name in names}
    return Message(RecordDict(content | {key: MetricRecord(dict(reply.metrics)) for key in keys}), reply_to=to)


def legacy_run(strategy: Any, spoil: Spoil, nodes: tuple[int, ...]) -> Outcome:
    """Two rounds of a strategy of the legacy API, in which `nodes` answer with spoilt replies."""
    manager, parameters, metrics, moved = _Everybody(), ndarrays_to_parameters(list(_start().values())), list[Any](), False
    for server_round in range(1, ROUNDS + 1):
        asked = strategy.configure_fit(server_round, parameters, manager)
        results, failures = _legacy_fit(asked, server_round, spoil, nodes)
        aggregated, found = strategy.aggregate_fit(server_round, results, failures)
        metrics.extend(found.values())
        parameters, moved = (parameters, moved) if aggregated is None else (aggregated, True)
        metrics.extend(_legacy_evaluate(strategy, server_round, parameters, manager, spoil, nodes))
    return (dict(zip(GOAL, parameters_to_ndarrays(parameters), strict=False)) if moved else None), metrics


def _legacy_fit(asked: Any, server_round: int, spoil: Spoil, nodes: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    results, failures = list[Any](), list[Any]()
    for proxy, instructions in asked:
        reply = _update(proxy.node_id, server_round, dict(zip(GOAL, parameters_to_ndarrays(instructions.parameters), strict=True)))
        if proxy.node_id in nodes:
            spoil(reply)
        if reply.failure or reply.silent:
            failures.append(RuntimeError(reply.failure or SILENT))
            continue
        examples = reply.metrics.pop("num-examples", 10)
        tensors = Parameters(list(reply.arrays.values()), "numpy.ndarray")
        results.append((proxy, FitRes(Status(Code.OK, ""), tensors, examples, reply.metrics)))
    return results, failures


def _legacy_evaluate(strategy: Any, server_round: int, parameters: Any, manager: Any, spoil: Spoil, nodes: tuple[int, ...]) -> list[Any]:
    results = []
    for proxy, _ in strategy.configure_evaluate(server_round, parameters, manager):
        reply = PlainReply({}, {"num-examples": 10, "loss": 1.0}, {})
        if proxy.node_id in nodes:
            _spoil_evaluation(spoil, reply)
        if not (reply.failure or reply.silent):
            examples = reply.metrics.get("num-examples", 10)
            results.append((proxy, EvaluateRes(Status(Code.OK, ""), reply.metrics.get("loss", 1.0), examples, dict(reply.metrics))))
    loss, metrics = strategy.aggregate_evaluate(server_round, results, [])
    return [*metrics.values(), *([] if loss is None else [loss])]


class _Everybody:
    """A client manager of the legacy API that samples all clients."""

    def num_available(self) -> int:
        return N

    def sample(self, *_: Any, **__: Any) -> list[Any]:
        return [SimpleNamespace(cid=str(node), node_id=node) for node in range(1, N + 1)]
