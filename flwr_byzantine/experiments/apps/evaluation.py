"""The accuracy and the loss of a project's model: by a function of the project's, or by its clients."""

from __future__ import annotations

import inspect
import io
import math
import numbers as numbers_of
import reprlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from flwr_byzantine.errors import ByzantineError, InvalidParameter
from flwr_byzantine.experiments.apps.client import client_app
from flwr_byzantine.experiments.apps.first import First
from flwr_byzantine.experiments.apps.loading import load, needed, taken
from flwr_byzantine.experiments.apps.project import App
from flwr_byzantine.flower import compat

EXAMPLES = "num-examples"
CLIENTS = "a client's evaluation"
ROUNDING = 1e-6  # by which a mean in float32 may miss 0 and 1
NO_EVALUATE = 'its ClientApp has no function for @app.evaluate(); give it one, or name a central one by [app] evaluate = "module:function"'


def central(app: App) -> Callable[[int, ArrayRecord], dict[str, float]]:
    """The project's own evaluation function, from round and model to accuracy and loss.

    It may take (arrays), (arrays, run_config), or (server_round, arrays) as Flower's strategies call theirs.

    Raises:
        InvalidParameter: it is not there, or when called, answers without accuracy.
    """
    what = f"evaluate = {app.evaluate!r}"
    function = load(app.project.folder, app.evaluate, "the evaluation function")
    if not callable(function) or inspect.isclass(function):
        raise InvalidParameter(f"{what} must be a function, got {'a class' if callable(function) else type(function).__name__}")
    flowers, count = _signature(function, what)

    def evaluate(server_round: int, arrays: ArrayRecord) -> dict[str, float]:
        given = (server_round, arrays) if flowers else (arrays, dict(app.config))[:count]
        with redirect_stdout(io.StringIO()):
            answer = function(*given)
        return values(app, answer, what)

    return evaluate


def _signature(function: Any, what: str) -> tuple[bool, int]:
    """Whether it is called as Flower does, and with how many arguments."""
    parameters = taken(function, what)
    places = [one for one in parameters if one.kind != one.KEYWORD_ONLY]
    flowers = bool(places) and places[0].name.lstrip("_") in ("server_round", "round", "rnd")
    if len(places) <= flowers or any(needed(one) for one in parameters if one not in places[:2]):
        text = ", ".join(one.name for one in parameters) or "no argument of a name"
        raise InvalidParameter(f"{what} must take (arrays), (arrays, run_config) or (server_round, arrays), but it takes {text}")
    return flowers, min(len(places), 2)


def federated(app: App, replies: Iterable[Message]) -> dict[str, float]:
    """The mean of the clients' metrics, weighted by their numbers of examples.

    Raises:
        ByzantineError: no client answered with metrics.
    """
    received = list(replies)
    answers = [_metrics(reply) for reply in received if reply.has_content()]
    if not answers:
        reason = next((reply.error.reason for reply in received if reply.has_error()), "no reply came")
        raise ByzantineError(f"no client evaluated the model: {reason}")
    each = [(values(app, answer, CLIENTS), _examples(answer)) for answer in answers]
    each = [(found, weight) for found, weight in each if weight]  # whose metrics are of nothing
    total = math.fsum(weight for _, weight in each) or math.nan  # exact sums do not depend on the order in which replies come
    return {name: math.fsum(found[name] * weight for found, weight in each) / total for name in ("accuracy", "loss")}


def _metrics(reply: Message) -> dict[str, Any]:
    return {name: value for record in reply.content.metric_records.values() for name, value in record.items()}


def _examples(answer: Mapping[str, Any]) -> float:
    weight = _number(answer.get(EXAMPLES, 1))
    if weight is None or not 0 <= weight < math.inf:
        raise InvalidParameter(f"{CLIENTS} must say {EXAMPLES!r} as a number >= 0, got {answer[EXAMPLES]!r}; mend its @app.evaluate()")
    return weight


def asked(app: App, told: First, nodes: Iterable[int], server_round: int, arrays: ArrayRecord) -> list[Message]:
    """The messages that ask the clients to evaluate a model."""
    if not compat.handles(client_app(app), "evaluate"):
        raise InvalidParameter(NO_EVALUATE)
    config = ConfigRecord({**told.config, "server-round": server_round})
    return [Message(RecordDict({told.arrays_key: arrays, told.config_key: config}), node, "evaluate") for node in nodes]


def values(app: App, answer: Any, where: str) -> dict[str, float]:
    """Accuracy and loss in an answer, by the names that the app's description has for them, else by likely ones.

    Args:
        app: the project.
        answer: a mapping from names to numbers.
        where: who answered, for the message.

    Raises:
        InvalidParameter: there is no accuracy, or there may be several.
    """
    if not isinstance(answer, Mapping):
        raise InvalidParameter(f'{where} must return a mapping such as {{"accuracy": 0.9, "loss": 0.3}}, got {reprlib.repr(answer)}')
    found = {str(key): _number(value) for key, value in answer.items()}
    numbers = {key: value for key, value in found.items() if value is not None}
    accuracy, loss = _named(numbers, app.accuracy, "accuracy", "acc"), _named(numbers, app.loss, "loss", "loss")
    if accuracy is None or (app.loss and loss is None):
        wanted = repr(app.loss if accuracy is not None else app.accuracy) if app.accuracy or accuracy is not None else "one accuracy"
        others = "".join(f", and {key!r}, which is no number but {reprlib.repr(answer[key])}" for key in found if key not in numbers)
        raise InvalidParameter(f"{where} must say {wanted}, got {', '.join(map(repr, numbers)) or 'no number'}{others}; {HOW}")
    if not -ROUNDING <= numbers[accuracy] <= 1 + ROUNDING and not math.isnan(numbers[accuracy]):
        percent = "divide percent by 100, or " if numbers[accuracy] > 1 else ""
        raise InvalidParameter(f"{where} must say an accuracy in [0, 1], got {accuracy!r} = {numbers[accuracy]:g}; {percent}{HOW}")
    return {"accuracy": numbers[accuracy], "loss": numbers[loss] if loss is not None else math.nan}


HOW = 'name its metric by [app] accuracy = "..." (loss = "...")'


def _named(numbers: Mapping[str, float], given: str, usual: str, part: str) -> str | None:
    """The name of a metric: the given one, else the usual one, else the only one that has `part` in it."""
    if given or usual in numbers:
        return next((name for name in (given or usual,) if name in numbers), None)
    likely = [name for name in numbers if part in name.lower()]
    return likely[0] if len(likely) == 1 else None


def _number(value: Any) -> float | None:
    """A number, or the one in an array or tensor of one value; None for all else.

    Example:
        >>> import numpy as np
        >>> [_number(value) for value in (1, np.array([0.5]), np.zeros(2), "0.5")]
        [1.0, 0.5, None, None]
    """
    try:
        single = value.item() if hasattr(value, "item") else value
        return float(single) if isinstance(single, numbers_of.Real) else None
    except (TypeError, ValueError, RuntimeError, OverflowError):  # several values, or one beyond floats
        return None
