"""Reading replies of the Message API, and making records of what comes out."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array as NDArray
from flwr_byzantine.errors import MalformedUpdate
from flwr_byzantine.strategy.template import Template

Record = TypeVar("Record", ArrayRecord, MetricRecord)


def read_reply(message: Message, template: Template) -> list[NDArray]:
    """The reply's arrays, flat, in the model's order.

    Raises:
        MalformedUpdate: an error reply, or content unlike the model.
    """
    if message.has_error():
        raise MalformedUpdate(f"the client reported an error: {(message.error.reason or 'no reason given')[:200]}")
    try:
        found = [payloads(record) for record in of_kind(message.content, ArrayRecord)]
    except Exception as error:  # content that does not even inflate
        raise MalformedUpdate(f"expected an ArrayRecord, got content that raises {type(error).__name__}") from None
    if len(found) != 1:
        raise MalformedUpdate(f"expected one ArrayRecord, got {len(found)}")
    return template.read(found[0])


def conform(arrays: ArrayRecord, template: Template) -> ArrayRecord:
    """`arrays` in the model's order, shapes and dtypes, whatever the inner strategy made of them."""
    types = [array.dtype for array in arrays.values()]
    if list(arrays) == template.names and types == [str(dtype) for dtype in template.dtypes]:
        return arrays
    blocks = []
    for name, dtype in zip(template.names, template.dtypes, strict=True):
        values = arrays[name].numpy().reshape(-1)
        block = np.empty(values.shape, dtype)
        kernels.round_into(values, block)
        blocks.append(block)
    return as_record(template, blocks)


def as_record(template: Template, blocks: list[NDArray]) -> ArrayRecord:
    """Flat blocks as a model."""
    return ArrayRecord({name: Array(value) for name, value in template.unflatten(blocks).items()})


def payloads(record: ArrayRecord) -> dict[str, bytes]:
    """Name -> npy bytes."""
    return {name: array.data for name, array in record.items()}


def of_kind(content: RecordDict, kind: type[Record]) -> list[Record]:
    """The records of one kind; Flower's own views of them refer to themselves and would keep a round's replies in memory."""
    return [record for record in content.values() if isinstance(record, kind)]


def examples_of(message: Message, key: str) -> Any:
    """What the reply says of its number of examples, or None."""
    record = metrics_of(message)
    return None if record is None else record.get(key)


def records_of(contents: list[RecordDict]) -> list[dict[str, Any]]:
    """The MetricRecord of each content that has exactly one, as plain data."""
    found = [of_kind(content, MetricRecord) for content in contents]
    return [dict(records[0]) for records in found if len(records) == 1]


def metrics_of(message: Message) -> MetricRecord | None:
    """The reply's only MetricRecord, or None."""
    if message.has_error() or not message.has_content():
        return None
    records = of_kind(message.content, MetricRecord)
    return records[0] if len(records) == 1 else None
