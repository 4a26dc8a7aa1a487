"""A ClientApp whose nodes count their messages, to see where and how often each was asked."""

import os

import numpy as np
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_byzantine.flower.codec import pack


def counting_app(broken=lambda node: None):
    """Each node counts its messages in its Context, and says who and where it is; `broken` may raise or worse."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        broken(context.node_id)
        count = context.state.setdefault("seen", MetricRecord({"count": 0}))
        count["count"] += 1
        message.content["config"]["note"] = "changed by a client"
        metrics = MetricRecord({"node": context.node_id, "count": count["count"], "process": os.getpid()})
        return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)

    return app


def round_of(grid, nodes):
    """The replies to one message for each node, which share their content as Flower's strategies have it."""
    content = RecordDict({"arrays": pack({"w": np.arange(3.0)}), "config": ConfigRecord({"note": ""})})
    replies = grid.send_and_receive([Message(content, node, "train") for node in nodes])
    assert content["config"]["note"] == ""
    return replies


def said(replies, key):
    return [reply.content["metrics"][key] for reply in replies]
