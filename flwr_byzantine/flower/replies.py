"""What one node answered, in one form for both Flower APIs: the only place where a reply is taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common import EvaluateRes, FitRes

from flwr_byzantine.errors import ByzantineError, MalformedUpdate
from flwr_byzantine.flower import compat
from flwr_byzantine.flower.exchange import Late, Unreadable
from flwr_byzantine.flower.words import printable

Record = TypeVar("Record", ArrayRecord, ConfigRecord, MetricRecord)
RECORDS = 64  # in a reply, at most
METRICS = 1_000  # in a record of a reply, metrics or config, at most; so many names are looked at before any value is
NAME = 500  # characters of a metric's name, at most
VALUES = 100_000  # in a metric that is a list, at most


@dataclass
class Reply:
    """One node's answer to a message of one round.

    Attributes:
        node: who was asked.
        payloads: name -> npy bytes of its model, or arrays where the node lives in this process; None where it has none that can be read.
        metrics: what it reports, or None where that cannot be read.
        examples: what it says of its number of examples, whatever that is.
        error: why there are no payloads.
        status: what a reply without payloads is: "invalid", "failed" where the client itself reported the error, or "missing".
        source: Flower's own object, for metric functions of the user's.

    Example:
        >>> Reply(7, status="failed", error="the client reported an error: out of memory").payloads is None
        True
    """

    node: int
    payloads: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None
    examples: Any = None
    error: str = ""
    status: str = "invalid"
    source: Any = field(default=None, repr=False)


def from_message(message: Message, node: int, examples_key: str, training: bool = True) -> Reply:
    """A reply of the Message API.

    Args:
        message: as the Grid gave it.
        node: who was asked, whatever the message says of its sender.
        examples_key: name of the metric with the number of examples.
        training: whether it answers a training message, or an evaluation, which has no model.
    """
    try:
        if message.has_error():
            return from_error(message, node)
        content = message.content
        arrays, metrics = _of_kind(content, ArrayRecord), _of_kind(content, MetricRecord)
        excess = _excess(len(content), [*metrics, *_of_kind(content, ConfigRecord)])
        payloads = {name: array.data for record in arrays[:1] for name, array in record.items()}
    except Exception as error:  # content that does not even inflate
        return Reply(node, error=f"expected an ArrayRecord, got content that raises {type(error).__name__}", source=message)
    if excess:
        return Reply(node, error=excess, source=message)
    said = dict(metrics[0]) if len(metrics) == 1 else None
    examples = None if said is None else said.get(examples_key)
    if not training:
        return Reply(node, None, said, examples, f"expected one MetricRecord, got {len(metrics)}", source=message)
    if len(arrays) != 1:
        return Reply(node, None, said, examples, f"expected one ArrayRecord, got {len(arrays)}", source=message)
    return Reply(node, payloads, said, examples, source=message)


def from_legacy(message: Message, node: int) -> Reply:
    """A reply of the Message API that Flower's legacy loop is to take apart, as what it will be there.

    Raises:
        MalformedUpdate: the loop would end with it.
    """
    try:
        excess = _excess(len(message.content), [record for record in message.content.values() if not isinstance(record, ArrayRecord)])
        result = None if excess else compat.legacy_result(message)
    except ByzantineError:  # Flower is not as expected: not the node's fault
        raise
    except Exception as error:
        raise MalformedUpdate(f"expected a legacy result, got content that raises {type(error).__name__}: {printable(error, 80)}") from None
    if excess:
        raise MalformedUpdate(excess)
    if isinstance(result, FitRes):
        return from_fit(result, node)
    return from_evaluate(result, node) if isinstance(result, EvaluateRes) else Reply(node, metrics={}, source=result)


def from_fit(result: FitRes, node: int) -> Reply:
    """A training result of the legacy API, which has no names: tensors are known by their place."""
    metrics = _metrics(result)
    if excess := _excess(1, [metrics]):
        return Reply(node, error=excess, source=result)
    try:
        payloads = {str(k): data for k, data in enumerate(result.parameters.tensors)}
    except Exception as error:
        return Reply(node, None, metrics, result.num_examples, f"expected tensors, got {printable(error, 80)}", source=result)
    return Reply(node, payloads, metrics, result.num_examples, source=result)


def from_evaluate(result: EvaluateRes, node: int) -> Reply:
    """An evaluation result of the legacy API; without metrics where these cost too much."""
    metrics = _metrics(result)
    excess = _excess(1, [metrics])
    return Reply(node, None, None if excess else metrics, result.num_examples, excess, source=result)


def _metrics(result: FitRes | EvaluateRes) -> Mapping[str, Any]:
    """A result's metrics, whatever Flower keeps them in: its own loop gives records in place of dicts."""
    return result.metrics if isinstance(result.metrics, Mapping) else {}


def from_failure(result: FitRes | EvaluateRes, node: int) -> Reply:
    """A failure of the legacy API whose client is known."""
    said = getattr(getattr(result, "status", None), "message", None)
    return Reply(node, error=_reported(said), status="failed", source=result)


def from_error(message: Message, node: int) -> Reply:
    """A message with an error in place of content: the client's, or what stands for a reply that could not be taken."""
    error = message.error
    if isinstance(error, Unreadable | Late):
        return Reply(node, error=printable(error.reason), status="missing" if isinstance(error, Late) else "invalid", source=message)
    return Reply(node, error=_reported(error.reason), status="failed", source=message)


def _reported(reason: str | None) -> str:
    return printable(f"the client reported an error: {reason or 'no reason given'}")


def _excess(records: int, metrics: Sequence[Mapping[str, Any]]) -> str:
    """What a reply has too much of, before its values are looked at; "" for an affordable one."""
    names = max(map(len, metrics), default=0)
    if records > RECORDS or names > METRICS:
        return f"expected at most {RECORDS} records and {METRICS} metrics, got {records} and {names}; not read"
    longest = max((len(name) if isinstance(name, str) else NAME + 1 for record in metrics for name in record), default=0)
    most = max((len(value) for record in metrics for value in record.values() if isinstance(value, list | str | bytes)), default=0)
    if longest > NAME or most > VALUES:
        return f"expected metrics with names of at most {NAME} characters and at most {VALUES} values, got {longest} and {most}; not read"
    return ""


def _of_kind(content: RecordDict, kind: type[Record]) -> list[Record]:
    """The records of one kind; Flower's own views of them refer to themselves and would keep a round's replies in memory."""
    return [record for record in content.values() if isinstance(record, kind)]


def drop_arrays(reply: Reply) -> None:
    """Take the arrays out of a reply that was read, and out of Flower's object; what it reports stays."""
    reply.payloads = None
    source = reply.source
    if isinstance(source, FitRes):
        source.parameters = type(source.parameters)([], source.parameters.tensor_type)
    elif isinstance(source, Message) and source.has_content():
        try:
            rest = RecordDict({name: record for name, record in source.content.items() if not isinstance(record, ArrayRecord)})
        except Exception:  # content that does not even inflate
            rest = RecordDict()
        source.content = rest


def with_distinct_nodes(replies: list[Reply], known: bool) -> list[Reply]:
    """The replies, numbered by their place where nobody knows who was asked and the senders they name are no distinct numbers."""
    nodes = [reply.node for reply in replies]
    if known or (all(type(node) is int for node in nodes) and len(set(nodes)) == len(nodes)):
        return replies
    return [replace(reply, node=place) for place, reply in enumerate(replies, 1)]
