"""Messages between a server of Flower's Message API and a client of its legacy one, a `client_fn`."""

from __future__ import annotations

from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from flwr_byzantine.errors import ByzantineError
from flwr_byzantine.flower import compat
from flwr_byzantine.flower.codec import pack, unpack

ARRAYS, CONFIG = "arrays", "config"


def is_legacy(message: Message) -> bool:
    """Whether the message is in the legacy format already, or of a kind that there is in it alone."""
    return ARRAYS not in message.content


def as_legacy(message: Message) -> Message:
    """A training or evaluation message in the legacy format."""
    kind = "fitins" if message.metadata.message_type == "train" else "evaluateins"
    config: Any = message.content.get(CONFIG, ConfigRecord())
    return compat.with_content(message, RecordDict({f"{kind}.parameters": message.content[ARRAYS], f"{kind}.config": config}))


def translated(reply: Message, asked: Message) -> Message:
    """A legacy reply in the Message API's format; the arrays get the names of those that were sent, where they are as many.

    Raises:
        ByzantineError: the client says that it failed.
    """
    found = compat.legacy_result(reply)
    if found.status.code.value:
        raise ByzantineError(f"the client answers {found.status.code.name}: {found.status.message}")
    metrics: dict[str, Any] = {key: value for key, value in found.metrics.items() if isinstance(value, int | float)}
    metrics["num-examples"] = found.num_examples
    if asked.metadata.message_type != "train":
        return Message(RecordDict({"metrics": MetricRecord({"loss": found.loss, **metrics})}), reply_to=asked)
    names = list(asked.content.array_records[ARRAYS])
    tensors = found.parameters.tensors
    names = names if len(names) == len(tensors) else [str(k) for k in range(len(tensors))]
    arrays: ArrayRecord = pack({name: unpack(data) for name, data in zip(names, tensors, strict=True)})
    return Message(RecordDict({ARRAYS: arrays, "metrics": MetricRecord(metrics)}), reply_to=asked)
