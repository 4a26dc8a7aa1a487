"""Models in Flower's records as flat vectors and back, for both message formats."""

from __future__ import annotations

from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType

from flwr_byzantine import kernels
from flwr_byzantine.kernels import Array as NDArray

REPLY, GRADIENT = "reply-kind", "gradient"  # `ByzantineSGD` tells clients, and attacks mounted in them, what the reply is


def is_train(message: Message) -> bool:
    """Whether it is a training message, in either format."""
    return message.metadata.message_type.split(".")[0] == MessageType.TRAIN


def array_key(message: Message) -> str | None:
    """Key of the message's only ArrayRecord ("arrays", "fitins.parameters", "fitres.parameters", ...), or None."""
    if message.has_error() or not message.has_content():
        return None
    keys = list(message.content.array_records)
    return keys[0] if len(keys) == 1 else None


def arrays_of(message: Message) -> dict[str, NDArray]:
    """Name -> array of the message's model; empty where it has none."""
    key = array_key(message)
    return {} if key is None else {name: array.numpy() for name, array in message.content.array_records[key].items()}


def origin_of(message: Message) -> dict[str, NDArray]:
    """What updates are measured from: the broadcast model, or zeros where `ByzantineSGD` asks for gradients."""
    broadcast = arrays_of(message)
    if any(record.get(REPLY) == GRADIENT for record in message.content.config_records.values()):
        return {name: np.zeros_like(value) for name, value in broadcast.items()}
    return broadcast


def delta(reply: dict[str, NDArray], broadcast: dict[str, NDArray]) -> NDArray:
    """(d,) float64 difference of two models, by place where the names differ (the legacy format has none)."""
    origin = list(broadcast.values())
    return np.concatenate([np.subtract(value, origin[k], dtype=np.float64).ravel() for k, value in enumerate(reply.values())])


def replace_model(message: Message, broadcast: dict[str, NDArray], update: NDArray) -> None:
    """Let the reply carry broadcast + update, with its own names, shapes and dtypes."""
    key = array_key(message)
    assert key is not None
    old, start, new = message.content.array_records[key], 0, dict[str, Any]()
    for origin, (name, array) in zip(broadcast.values(), old.items(), strict=True):
        value = array.numpy()
        out = np.empty(value.size, value.dtype)
        _store(origin.ravel().astype(np.float64) + update[start : start + value.size], out)
        new[name] = Array(out.reshape(value.shape))
        start += value.size
    message.content[key] = ArrayRecord(new)


def _store(value: NDArray, out: NDArray) -> None:
    if out.dtype.kind == "f":
        with np.errstate(over="ignore"):
            out[...] = value
    else:
        kernels.store(np.nan_to_num(value), out)
