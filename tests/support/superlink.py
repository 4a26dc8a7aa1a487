"""Flower's own Grid to a SuperLink, over a SuperLink that is played in this process: what nodes upload, part by part."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

from flwr_byzantine.flower import compat

INFLATABLE = "flwr.supercore.inflatable.inflatable_object"


def inside(module, name):
    return compat.inside(module, name, "tests")


class Link:
    """Plays the SuperLink's side: `answers` gives, for a message that is pushed, the parts of its reply, or None for none yet.

    A part that is None is announced, and not uploaded.
    """

    def __init__(self, answers):
        self.answers, self.waiting, self.parts, self.confirmed = answers, {}, {}, []
        self.looked, self.asked_for = 0, Counter()

    @property
    def pulled(self):
        """How often parts were asked for."""
        return self.asked_for.total()

    def PushMessages(self, request):
        for proto in request.messages_list:
            self.waiting[proto.metadata.message_id] = proto.metadata
        ids = [proto.metadata.message_id for proto in request.messages_list]
        return SimpleNamespace(message_ids=ids, session_id="s", objects_to_push=[])

    def PushObject(self, request):
        raise AssertionError("nothing is to be pushed")

    def PullMessages(self, request):
        grid = "flwr.superlink.grid.http_grid"
        response = inside(grid, "PullAppMessagesResponse")()
        self.looked += 1
        for key in [key for key in request.message_ids if key in self.waiting]:
            reply = self.answers(self.waiting[key])
            if reply is None:
                continue
            asked = self.waiting.pop(key)
            outer, tree, parts = reply
            self.parts.update({name: part for name, part in parts.items() if part is not None or name not in self.parts})
            outer.metadata.reply_to_message_id, outer.metadata.src_node_id = key, asked.dst_node_id
            response.messages_list.append(outer)
            response.message_object_trees.append(tree)
        return response

    def PullObject(self, request):
        self.asked_for[request.object_id] += 1
        content = self.parts.get(request.object_id)
        return SimpleNamespace(object_found=True, object_available=content is not None, object_content=content or b"")

    def ConfirmMessageReceived(self, request):
        self.confirmed.append(request.message_object_id)


def http_grid(link):
    """An HttpGrid that is connected to this link."""
    grid = inside("flwr.superlink.grid.http_grid", "HttpGrid")(token="t")
    grid.set_run(inside("flwr.superlink.grid.http_grid", "Run").create_empty(1))
    grid._client = link
    return grid


def upload(message, spoil=lambda parts: parts):
    """A reply as it lies on a SuperLink: its envelope, its tree of parts, and the parts; `spoil` may change them."""
    parts = {key: item.deflate() for key, item in inside(INFLATABLE, "get_all_nested_objects")(message).items()}
    tree = inside(INFLATABLE, "get_object_tree")(message)
    envelope = inside("flwr.app.message.message", "remove_content_from_message")(message)
    outer = inside("flwr.superlink.grid.http_grid", "message_to_proto")(envelope)
    outer.metadata.message_id = tree.object_id
    return outer, tree, spoil(parts)


def reply_to(metadata, value=None, **metrics):
    """What an honest node answers a training message with, given the message's metadata."""
    asked = Message(RecordDict(), metadata.dst_node_id, metadata.message_type)
    compat.set_metadata(asked, message_id=metadata.message_id)
    arrays = {"arrays": ArrayRecord({"w": Array(np.ones(1000, np.float32) if value is None else value)})}
    told = MetricRecord({"num-examples": 1, "node": metadata.dst_node_id, **metrics})  # parts are known by their content: no two alike
    return Message(RecordDict({**arrays, "metrics": told}), reply_to=asked)


def with_body(parts, kind, body):
    """The parts, where those of one kind get another body under their own names: what a node may upload."""
    head = inside(INFLATABLE, "get_object_children_ids_from_object_content")

    def changed(content):
        if content.split(b" ", 1)[0] != kind.encode():
            return content
        children = ",".join(head(content))
        return f"{kind} {children} {len(body)}".encode() + b"\0" + body

    return {key: changed(content) for key, content in parts.items()}


def bomb(times):
    """The body of an Array that names its chunk so many times."""
    return json.dumps({"dtype": "float32", "shape": [1000], "stype": "numpy.ndarray", "arraychunk_ids": [0] * times}).encode()
