"""What training messages and replies hold, in both message formats: model, round, partition, kind of reply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.common import FitRes

from flwr_byzantine.arrays.typing import Array
from flwr_byzantine.flower.codec import pack, unpack
from flwr_byzantine.flower.compat import copy_content

ROUNDS = ("server-round", "server_round")  # how the two APIs, and users of the legacy one, call the round in a config
SEND, FULL, DIFFERENCE = "reply-gradient", "full", "difference"  # of which rounds of Byz-VR-MARINA are; with both keys below
OF_ROUND, LAST_STEP = "reply-round", "reply-last-step"  # the round's number, and the step size of the round before
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


def arrays_of(message: Message) -> dict[str, Array]:
    """Name -> array of the message's model; empty where it has none, or several."""
    key = array_key(message)
    record: Any = {} if key is None else message.content[key]
    return {name: unpack(array.data) for name, array in record.items()}


def replace_arrays(message: Message, arrays: Mapping[str, Array]) -> None:
    """Let the message's only ArrayRecord carry these values under its own names, as its sender would have written them."""
    key = array_key(message)
    assert key is not None
    record = copy_content(message.content[key])
    for name, array in pack(arrays).items():
        record[name].data = array.data
    message.content[key] = record


def configs_of(message: Message) -> list[Mapping[str, Any]]:
    """The message's ConfigRecords."""
    return list(message.content.config_records.values())


def round_in(configs: Iterable[Mapping[str, Any]]) -> int | None:
    """The server round, from 1, that one of these configs tells, or None.

    Example:
        >>> round_in([{"lr": 0.1}, {"server-round": 3}]), round_in([{"server_round": 0}])
        (3, None)
    """
    found = (config[key] for config in configs for key in ROUNDS if key in config)
    return next((int(value) for value in found if isinstance(value, int | np.integer) and not isinstance(value, bool) and value > 0), None)


def round_of(message: Message) -> int | None:
    """The server round that a message tells in a config, else in its group id, as legacy strategies do; or None."""
    told, group = round_in(configs_of(message)), message.metadata.group_id
    return told if told is not None else int(group) if group.isdecimal() and int(group) > 0 else None


def partition_in(reply: Message | FitRes) -> int | None:
    """The "partition-id" that a reply carries in its metrics, or None."""
    kinds = (MetricRecord, ConfigRecord)  # the legacy format has a config
    found: list[Any]
    if isinstance(reply, FitRes):
        found = [reply.metrics.get("partition-id") if isinstance(reply.metrics, Mapping) else None]
    else:
        found = [record.get("partition-id") for kind in kinds for record in reply.content.values() if isinstance(record, kind)]
    return next((int(value) for value in found if isinstance(value, int) or (isinstance(value, float) and value.is_integer())), None)


def wants_gradients(configs: Iterable[Mapping[str, Any]]) -> bool:
    """Whether one of these configs says that `ByzantineSGD` asks for gradients instead of models.

    Example:
        >>> wants_gradients([{"reply-kind": "gradient"}]), wants_gradients([{}])
        (True, False)
    """
    return any(config.get(REPLY) == GRADIENT for config in configs)
