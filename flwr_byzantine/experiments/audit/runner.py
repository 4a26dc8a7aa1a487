"""Runs a strategy against the battery in process, in either Flower API, and says what became of the model."""

from __future__ import annotations

import importlib
import inspect
import logging
import math
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import Code, EvaluateRes, FitRes, Parameters, Status, ndarrays_to_parameters, parameters_to_ndarrays

from flwr_byzantine.arrays.typing import Array as NDArray
from flwr_byzantine.errors import InvalidParameter
from flwr_byzantine.experiments.audit.battery import Case, Reply, npy
from flwr_byzantine.flower.local import LocalGrid

OUTCOMES = ("survived", "skipped", "dtype changed", "structure changed", "metrics spoilt", "poisoned", "non-finite", "crashed")
N, ROUNDS = 13, 2  # enough for every rule with f = 2 to lose two replies
GOAL = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.full(4, -1.0, np.float32)}
TOLERANCE = 0.1  # distance from the honest result; honest updates spread by 0.01
Model = dict[str, NDArray]
Make = Callable[[], Any]


@dataclass(frozen=True)
class Finding:
    """What a case did at one placement.

    Attributes:
        case: its name.
        nodes: who sent it, of nodes 1..13.
        outcome: one of `OUTCOMES`.
        detail: the exception, or how far the model is off.
    """

    case: str
    nodes: tuple[int, ...]
    outcome: str
    detail: str = ""


def placements(f: int) -> list[tuple[int, ...]]:
    """First, middle and last position, for 1 and for f attackers."""
    middle, sizes = N // 2, sorted({1, f})
    return [tuple(range(start, start + size)) for size in sizes for start in (1, middle, N - size + 1)]


def load_strategy(name: str, f: int, options: dict[str, Any] | None = None) -> Make:
    """A maker of strategies from "module:Name": a class, or a function without arguments.

    Args:
        name: e.g. "flwr.serverapp.strategy:Krum".
        f: given to the constructor under the name that it has there.
        options: further constructor arguments.

    Raises:
        InvalidParameter: no such module or name, or the strategy cannot be made.

    Example:
        >>> load_strategy("flwr_byzantine:Krum", f=2)().core.rule(11)
        Krum(f=2, neighbors='n-f-2')
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidParameter(f"audit: expected MODULE:STRATEGY such as flwr_byzantine:Krum, got {name!r} ({error})") from None
    known = inspect.signature(found).parameters
    named = next((key for key in ("num_malicious_nodes", "num_malicious_clients", "f") if key in known), None)
    given = {**({named: f} if named else {}), **(options or {})}

    def make() -> Any:
        return found(**given)

    try:
        make()
    except Exception as error:
        raise InvalidParameter(f"audit: {name} cannot be made with {given} ({error}); pass its arguments as --options JSON") from None
    return make


def audit(
    make: Make,
    cases: Sequence[Case],
    f: int = 2,
    legacy: bool = False,
    where: Sequence[tuple[int, ...]] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> list[Finding]:
    """Every case at every placement, two rounds of thirteen clients each.

    Args:
        make: makes a fresh strategy.
        cases: of `BATTERY`.
        f: attackers at most.
        legacy: the strategy is of the legacy API.
        where: placements; `placements(f)` by default.
        advance: called after each case.

    Raises:
        InvalidParameter: the strategy fails even when every reply is honest.
    """
    run = _legacy_run if legacy else _message_run
    with _quiet():
        honest = _try(run, make, lambda _: None, (), "honest")
        if honest.outcome != "survived":
            raise InvalidParameter(f"audit: the strategy fails when all replies are honest: {honest.outcome} {honest.detail}")
        findings = list[Finding]()
        for case in cases:
            places = (where or placements(f)) if case.legacy or not legacy else ()
            findings.extend(_try(run, make, case.spoil, nodes, case.name) for nodes in places)
            advance()
    return findings


def _try(run: Callable[..., tuple[Model | None, list[Any]]], make: Make, spoil: Any, nodes: tuple[int, ...], name: str) -> Finding:
    random.seed(0)  # Flower samples nodes, and so orders replies, by the global generator
    try:
        model, metrics = run(make(), spoil, nodes)
    except Exception as error:
        return Finding(name, nodes, "crashed", f"{type(error).__name__}: {str(error)[:120]}")
    return Finding(name, nodes, *_judge(model, metrics))


def _judge(model: Model | None, metrics: list[Any]) -> tuple[str, str]:
    expected = {name: (1 - 0.5**ROUNDS) * goal for name, goal in GOAL.items()}
    if model is None:
        return "skipped", "no round was aggregated"
    if [(name, value.shape) for name, value in model.items()] != [(name, value.shape) for name, value in expected.items()]:
        return "structure changed", str([(name, value.shape) for name, value in model.items()])
    if any(value.dtype.kind not in "fiu" for value in model.values()):
        return "structure changed", str([str(value.dtype) for value in model.values()])
    if not all(np.isfinite(value).all() for value in model.values()):
        return "non-finite", ""
    off = max(float(np.abs(model[name].astype(float) - expected[name]).max()) for name in expected)
    if off > TOLERANCE:
        halfway = max(float(np.abs(model[name] - expected[name] * 2 / 3).max()) for name in expected)
        return ("skipped" if halfway < TOLERANCE else "poisoned"), f"{off:.3g} off"
    if any(model[name].dtype != expected[name].dtype for name in expected):
        return "dtype changed", str([str(value.dtype) for value in model.values()])
    bad = [value for value in metrics if not _finite(value)]
    return ("metrics spoilt", str(bad[:2])) if bad else ("survived", "")


def _finite(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, int | float) and math.isfinite(item) for item in items)


def _update(node: int, server_round: int, model: Model) -> Reply:
    rng = np.random.default_rng([node, server_round])
    arrays = {k: npy((w + (GOAL[k] - w) / 2 + 0.01 * rng.normal(size=w.shape)).astype(np.float32)) for k, w in model.items()}
    return Reply(arrays, {"num-examples": 10, "loss": 1.0}, dict(model))


def _start() -> Model:
    return {name: np.zeros_like(value) for name, value in GOAL.items()}


def _message_run(strategy: Any, spoil: Any, nodes: tuple[int, ...]) -> tuple[Model | None, list[Any]]:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Any) -> Message:
        model = {name: array.numpy() for name, array in message.content["arrays"].items()}  # type: ignore[union-attr]
        reply = _update(context.node_id, int(message.content["config"]["server-round"]), model)  # type: ignore[arg-type]
        if context.node_id in nodes:
            spoil(reply)
        return _message(reply, message)

    @app.evaluate()
    def evaluate(message: Message, context: Any) -> Message:
        reply = Reply({}, {"num-examples": 10, "loss": 1.0}, {})
        if context.node_id in nodes:
            spoil_quietly(spoil, reply)
        return _message(reply, message, evaluation=True)

    grid: Any = LocalGrid(app, N, spoil=lambda reply: None if reply.has_error() and reply.error.reason == SILENT else reply)
    result = strategy.start(grid, ArrayRecord({k: Array(v) for k, v in _start().items()}), ROUNDS)
    model = {name: array.numpy() for name, array in result.arrays.items()}
    records = [*result.train_metrics_clientapp.values(), *result.evaluate_metrics_clientapp.values()]
    return model or None, [value for record in records for value in record.values()]


SILENT = "no reply"


def spoil_quietly(spoil: Any, reply: Reply) -> None:
    """Spoil an evaluation reply, which has no arrays, as far as that goes."""
    try:
        spoil(reply)
    except (StopIteration, KeyError, IndexError):
        return


def _message(reply: Reply, to: Message, evaluation: bool = False) -> Message:
    if reply.failure or reply.silent:
        return Message(Error(0, SILENT if reply.silent else reply.failure), reply_to=to)
    arrays = {name: Array("float32", (1,), "numpy.ndarray", data) for name, data in reply.arrays.items()}
    names, keys = ("arrays", "arrays2")[: 0 if evaluation else reply.array_records], ("metrics", "metrics2")[: reply.metric_records]
    content: dict[str, Any] = {name: ArrayRecord(dict(arrays)) for name in names}
    return Message(RecordDict(content | {key: MetricRecord(dict(reply.metrics)) for key in keys}), reply_to=to)


def _legacy_run(strategy: Any, spoil: Any, nodes: tuple[int, ...]) -> tuple[Model | None, list[Any]]:
    manager, parameters, metrics, moved = _Everybody(), ndarrays_to_parameters(list(_start().values())), list[Any](), False
    for server_round in range(1, ROUNDS + 1):
        asked = strategy.configure_fit(server_round, parameters, manager)
        results, failures = _legacy_fit(asked, server_round, spoil, nodes)
        aggregated, found = strategy.aggregate_fit(server_round, results, failures)
        metrics.extend(found.values())
        parameters, moved = (parameters, moved) if aggregated is None else (aggregated, True)
        metrics.extend(_legacy_evaluate(strategy, server_round, parameters, manager, spoil, nodes))
    return (dict(zip(GOAL, parameters_to_ndarrays(parameters), strict=False)) if moved else None), metrics


def _legacy_fit(asked: Any, server_round: int, spoil: Any, nodes: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
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


def _legacy_evaluate(strategy: Any, server_round: int, parameters: Any, manager: Any, spoil: Any, nodes: tuple[int, ...]) -> list[Any]:
    results = []
    for proxy, _ in strategy.configure_evaluate(server_round, parameters, manager):
        reply = Reply({}, {"num-examples": 10, "loss": 1.0}, {})
        if proxy.node_id in nodes:
            spoil_quietly(spoil, reply)
        if not (reply.failure or reply.silent):
            examples = reply.metrics.get("num-examples", 10)
            results.append((proxy, EvaluateRes(Status(Code.OK, ""), reply.metrics.get("loss", 1.0), examples, dict(reply.metrics))))
    loss, metrics = strategy.aggregate_evaluate(server_round, results, [])
    return [*metrics.values(), *([] if loss is None else [loss])]


class _Everybody:
    """A legacy client manager that samples all thirteen."""

    def num_available(self) -> int:
        return N

    def sample(self, *_: Any, **__: Any) -> list[Any]:
        return [SimpleNamespace(cid=str(node), node_id=node) for node in range(1, N + 1)]


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("flwr")
    level, state = logger.level, random.getstate()
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what hostile numbers make of NumPy in the strategies under audit
            yield
    finally:
        logger.setLevel(level)
        random.setstate(state)
