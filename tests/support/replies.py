"""Ways to spoil a training reply on its way back to the server, for LocalGrid's `spoil`."""

import numpy as np
from flwr.app import Array, MetricRecord


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
