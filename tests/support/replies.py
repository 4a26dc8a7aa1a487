"""Training replies made by hand, and ways to spoil one on its way back to the server, for LocalGrid's `spoil`."""

from unittest.mock import Mock

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict


def spoiled(change, nodes=(4,)):
    def spoil(reply):
        if reply.metadata.src_node_id not in nodes or reply.metadata.message_type.split(".")[0] != "train":
            return reply
        return change(reply)

    return spoil


def arrays(change):
    def spoil(reply):
        reply.content["arrays"] = change(reply.content["arrays"])
        return reply

    return spoil


def metrics(**values):
    named = {key.replace("_", "-"): value for key, value in values.items()}

    def spoil(reply):
        reply.content["metrics"] = MetricRecord({**dict(reply.content["metrics"]), **named})
        return reply

    return spoil


def payload(change):
    """Change the npy bytes of w."""

    def spoil(record):
        array = record["w"]
        record["w"] = Array(dtype=array.dtype, shape=tuple(array.shape), stype=array.stype, data=change(array.data))
        return record

    return arrays(spoil)


def nan(reply):
    """w is NaN everywhere."""
    reply.content["arrays"]["w"] = Array(np.full((2, 3), np.nan, np.float32))
    return reply


def nonsense(reply):
    """Nodes 2 and 5 send an array of another form under the name of w, and nothing else."""
    if reply.metadata.src_node_id in (2, 5) and "arrays" in reply.content:
        reply.content["arrays"] = ArrayRecord({"w": Array(np.zeros(1))})
    return reply


def reply_of(arrays, node=None):
    """As Flower's own unit tests make one: a mock, whose sender is no number."""
    message = Mock(spec=Message)
    message.content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 5})})
    message.has_error.side_effect = lambda: False
    message.has_content.side_effect = lambda: True
    if node is not None:
        message.metadata.src_node_id = node
    return message
