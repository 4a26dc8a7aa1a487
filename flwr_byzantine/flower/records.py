"""Models in Flower's records as flat vectors and back, for both message formats."""

from __future__ import annotations

from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord

from flwr_byzantine.arrays import kernels
from flwr_byzantine.arrays.typing import Array as NDArray
from flwr_byzantine.flower.codec import pack, unpack

ROUNDS = ("server-round", "server_round")  # how the two APIs, and users of the legacy one, call the round in a config
REPLY, GRADIENT = "reply-kind", "gradient"  # `ByzantineSGD` tells clients, and attacks mounted in them, what the reply is


def is_train(message: Message) -> bool:
    """Whether it is a training message, in either format."""
    return message.metadata.message_type.split(".")[0] == MessageType.TRAIN


def array_key(message: Message) -> str | None:
    """Key of the message's only ArrayRecord ("arrays", "fitins.parameters", "fitres.parameters", ...), or None."""
    if message.has_error() or not message.has_content():
        return None
    keys = [key for key, record in message.content.items() if isinstance(record, ArrayRecord)]  # Flower's view of them costs ten times this
    return keys[0] if len(keys) == 1 else None


def arrays_of(message: Message) -> dict[str, NDArray]:
    """Name -> array of the message's model; empty where it has none."""
    key = array_key(message)
    record: Any = {} if key is None else message.content[key]
    return {name: unpack(array.data) for name, array in record.items()}


def round_of(message: Message) -> int | None:
    """The server round that a message says it belongs to, or None."""
    found = [record[key] for record in message.content.config_records.values() for key in ROUNDS if key in record]
    rounds = [value for value in found if isinstance(value, int) and value > 0]
    group = message.metadata.group_id  # legacy strategies put it there
    return rounds[0] if rounds else int(group) if group.isdecimal() and int(group) > 0 else None


def partition_in(reply: Message) -> int | None:
    """The "partition-id" that a reply carries in its metrics, or None."""
    kinds = (MetricRecord, ConfigRecord)  # the legacy format has a config
    found = [record.get("partition-id") for kind in kinds for record in reply.content.values() if isinstance(record, kind)]
    return next((int(value) for value in found if isinstance(value, int | float)), None)


def wants_gradients(message: Message) -> bool:
    """Whether `ByzantineSGD` asks for gradients instead of models."""
    return any(record.get(REPLY) == GRADIENT for record in message.content.config_records.values())


def origin_of(message: Message) -> dict[str, NDArray]:
    """What updates are measured from: the broadcast model, or zeros where `ByzantineSGD` asks for gradients."""
    broadcast = arrays_of(message)
    return {name: np.zeros_like(value) for name, value in broadcast.items()} if wants_gradients(message) else broadcast


def broadcast_vector(message: Message) -> NDArray:
    """(d,) broadcast model in its own dtype; with its sign changed where gradients are asked for, since steps go against them."""
    values = [np.asarray(value).ravel() for value in arrays_of(message).values()]
    flat = np.concatenate(values) if values else np.zeros(0)
    return -flat if wants_gradients(message) else flat


def step_between(old: NDArray | None, new: NDArray) -> NDArray | None:
    """(d,) float64 new - old, or None where there is no old model of this size."""
    return None if old is None or old.shape != new.shape else np.subtract(new, old, dtype=np.float64)


def delta(reply: dict[str, NDArray], broadcast: dict[str, NDArray]) -> NDArray:
    """(d,) float64 difference of two models, by place where the names differ (the legacy format has none)."""
    origin = list(broadcast.values())
    return np.concatenate([np.subtract(value, origin[k], dtype=np.float64).ravel() for k, value in enumerate(reply.values())])


def replace_model(message: Message, broadcast: dict[str, NDArray], update: NDArray) -> None:
    """Let the reply carry broadcast + update, with its own names, shapes and dtypes."""
    key = array_key(message)
    assert key is not None
    old = arrays_of(message)
    new = moved(list(old.values()), list(broadcast.values()), update)
    message.content[key] = pack(dict(zip(old, new, strict=True)))


def moved(like: list[NDArray], broadcast: list[NDArray], update: NDArray) -> list[NDArray]:
    """Broadcast + (d,) update as arrays of the shapes and dtypes of `like`."""
    sent, start = [], 0
    for old, origin in zip(like, broadcast, strict=True):
        out = np.empty(old.size, old.dtype)
        _store(origin.ravel().astype(np.float64) + update[start : start + old.size], out)
        sent.append(out.reshape(old.shape))
        start += old.size
    return sent


def _store(value: NDArray, out: NDArray) -> None:
    if out.dtype.kind == "f":
        with np.errstate(over="ignore"):
            out[...] = value
    else:
        kernels.round_into(np.nan_to_num(value), out)
