"""Everything that this project uses of Flower's inside, one small function each.

What Flower does not document may change with any release. It is used here, in `flower.superlink` (how replies are pulled)
and in `flower.loops` (who has called us) alone, so that such a change is mended in one place; `tests/flower/test_compat.py`
says in one sentence what has changed. All other modules import Flower's public modules only: `flwr.app`,
`flwr.clientapp`, `flwr.serverapp`, `flwr.client`, `flwr.common`, `flwr.server`, `flwr.simulation` and their `strategy`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, MutableMapping
from importlib import import_module
from typing import Any

import flwr
from flwr.app import Array, Message, RecordDict
from flwr.common import log as flower_log

from flwr_byzantine.errors import ByzantineError
from flwr_byzantine.flower.words import printable

LONGEST_LINE = 2_000  # characters of a line of ours in Flower's log
LEGACY = "flwr.server.strategy.aggregate"
AGGREGATIONS = {  # functions of Flower's robust strategies: name -> module
    **dict.fromkeys(("aggregate", "aggregate_krum", "aggregate_bulyan", "aggregate_median", "aggregate_trimmed_avg"), LEGACY),
    "select_multikrum": "flwr.serverapp.strategy.multikrum",
    "aggregate_n_closest_weights": "flwr.serverapp.strategy.bulyan",
}


def flower_version() -> str:
    """Flower's version; its nightly is installed under a name of its own, so that package metadata do not tell it."""
    return str(flwr.__version__)


def log(level: int, text: str) -> None:
    """Write one line to Flower's log, marked as this package's, whatever is in the text.

    Args:
        level: one of Python's, e.g. `logging.INFO`.
        text: what happened.
    """
    flower_log(level, "flwr-byzantine: %s", printable(text, LONGEST_LINE))


def ensure_task_identity() -> None:
    """Give this process the identity that `Message(...)` asks for, where no engine has given it one: run, node and task 1.

    Example:
        >>> ensure_task_identity()
        >>> Message(RecordDict(), 7, "train").metadata.dst_node_id
        7
    """
    identity = inside("flwr.supercore.task_identity", "TaskIdentity", "ensure_task_identity")
    for name in ("run_id", "node_id", "task_id"):
        try:
            getattr(identity, name)
        except RuntimeError:  # Flower's way to say that it is not set
            setattr(identity, name, 1)


def with_content(message: Message, content: RecordDict) -> Message:
    """A message of its own with the same metadata and this content; the given one keeps its content.

    Example:
        >>> ensure_task_identity()
        >>> old = Message(RecordDict(), 7, "train")
        >>> new = with_content(old, RecordDict())
        >>> new.content is old.content, new.metadata is old.metadata
        (False, True)
    """
    made = copy.copy(message)
    made.content = content
    return made


def set_metadata(message: Message, **values: Any) -> Message:
    """Set metadata for which Flower has no setter, as its SuperLink does.

    Args:
        message: changed in place.
        values: names as Flower's `Metadata` has them: `src_node_id`, `message_id`, `reply_to_message_id`, ...

    Returns:
        The message.

    Raises:
        ByzantineError: Flower's metadata have no such value.

    Example:
        >>> ensure_task_identity()
        >>> set_metadata(Message(RecordDict(), 7, "train"), src_node_id=3).metadata.src_node_id
        3
    """
    fields = message.metadata.__dict__
    for name, value in values.items():
        if f"_{name}" not in fields:
            raise changed(f"Metadata to keep {name} in its attribute _{name}", "set_metadata")
        fields[f"_{name}"] = value
    return message


def copy_content(value: Any) -> Any:
    """A copy of a RecordDict that shares nothing a client can change: as a deep copy, at a tenth of the time.

    Args:
        value: a RecordDict, or what lies in one: a record, an Array, a list, a number, a string, bytes.

    Example:
        >>> from flwr.app import ConfigRecord
        >>> old = RecordDict({"config": ConfigRecord({"lr": 0.1})})
        >>> new = copy_content(old)
        >>> new["config"]["lr"] = 0.2
        >>> old["config"]["lr"]
        0.1
    """
    if isinstance(value, list):
        return list(value)
    if not isinstance(value, MutableMapping | Array):
        return value  # numbers, strings and bytes never change
    made: Any = object.__new__(type(value))
    made.__dict__.update(value.__dict__)
    if isinstance(value, MutableMapping):
        made.__dict__["_data"] = {key: copy_content(item) for key, item in value.items()}
    return made


def legacy_result(message: Message) -> Any:
    """What Flower's legacy loop makes of a reply: a FitRes, an EvaluateRes or a GetParametersRes; the reply stays as it is.

    Raises:
        Exception: whatever Flower raises where the content is of another kind; its loop would end with it.
    """
    kind = message.metadata.message_type.split(".")[0]
    name = {"train": "fitres", "evaluate": "evaluateres"}.get(kind, "getparametersres")
    convert = inside("flwr.compat.common.recorddict_compat", f"recorddict_to_{name}", "legacy_result")
    return convert(message.content) if name == "evaluateres" else convert(message.content, keep_input=True)


def is_legacy(client_app: Any) -> bool:
    """Whether a ClientApp is of the legacy API: a `client_fn`.

    Example:
        >>> from flwr.clientapp import ClientApp
        >>> is_legacy(ClientApp()), is_legacy(ClientApp(client_fn=lambda context: None))
        (False, True)
    """
    return _kept(client_app, "_call", "is_legacy") is not None


def handles(client_app: Any, kind: str) -> bool:
    """Whether a ClientApp has a function for messages of a kind: "train", "evaluate" or "query".

    Example:
        >>> from flwr.clientapp import ClientApp
        >>> app = ClientApp()
        >>> _ = app.train()(lambda message, context: message)
        >>> handles(app, "train"), handles(app, "evaluate")
        (True, False)
    """
    return is_legacy(client_app) or f"{kind}.default" in _kept(client_app, "_registered_funcs", "handles")


def _kept(client_app: Any, name: str, function: str) -> Any:
    try:
        return getattr(client_app, name)
    except AttributeError:
        raise changed(f"ClientApp to have an attribute {name}", function) from None


def grids_of(proxies: Iterable[Any]) -> list[Any]:
    """The Grids by which these legacy ClientProxies reach their nodes, each once; none where they are not Flower's own."""
    return list({id(proxy.grid): proxy.grid for proxy in proxies if hasattr(proxy, "grid")}.values())


def app_of(grid: Any) -> str:
    """Flower's name ("publisher/name") of the app that a Grid works for; empty where it has none, as outside `flwr run`.

    Example:
        >>> app_of(object())
        ''
    """
    try:
        app = grid.run.fab_id
        return app if isinstance(app, str) else ""
    except Exception:  # Grids of tests have no run, or raise
        return ""


def is_flowers_average(metrics_function: Any) -> bool:
    """Whether it is the average of metrics that Flower's strategies use where the user names no function.

    Example:
        >>> from flwr.serverapp.strategy import FedAvg
        >>> is_flowers_average(FedAvg().train_metrics_aggr_fn)
        True
    """
    return metrics_function is inside("flwr.serverapp.strategy.strategy_utils", "aggregate_metricrecords", "is_flowers_average")


def aggregation(name: str) -> Callable[..., Any]:
    """A function by which one of Flower's strategies aggregates, to compare with.

    Args:
        name: one of `AGGREGATIONS`; those whose name begins with "aggregate" and that are of the legacy API take a list
            of (layers, number of examples) and return layers.

    Example:
        >>> float(aggregation("aggregate")([([1.0], 1), ([4.0], 2)])[0])
        3.0
    """
    function: Callable[..., Any] = inside(AGGREGATIONS[name], name, "aggregation")
    return function


def changed(expected: str, function: str) -> ByzantineError:
    """What to say, in one sentence, where Flower is not as a function of this module expects it.

    Args:
        expected: completes "this package expects ...".
        function: the function of this module to mend.

    Example:
        >>> print(str(changed("a round Earth", "log")).split(":")[1])
         this package expects a round Earth; mend flwr_byzantine.flower.compat.log
    """
    return ByzantineError(f"flwr {flower_version()}: this package expects {expected}; mend flwr_byzantine.flower.compat.{function}")


def inside(module: str, name: str, function: str) -> Any:
    """Something that a module of Flower's holds.

    Raises:
        ByzantineError: it is not there; names the function of this module, or of `flower.superlink`, to mend.
    """
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise changed(f"{module}.{name}, which is not there", function) from None
