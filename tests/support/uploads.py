"""A round over a SuperLink in which the last of five nodes uploads what it likes."""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from flwr_byzantine.flower import compat
from flwr_byzantine.flower.grids import wait_for_all
from tests.support.superlink import Link, http_grid, reply_to, upload

HOSTILE = 5


def model():
    return ArrayRecord({"w": Array(np.zeros(1000, np.float32))})


def hostile(spoil=lambda parts: parts, change=lambda reply: reply, **metrics):
    """Answers: all nodes are honest but the last one, whose reply or parts are changed."""

    def answers(metadata):
        if metadata.dst_node_id != HOSTILE:
            return upload(reply_to(metadata))
        return upload(change(reply_to(metadata, np.full(1000, 9.0, np.float32), **metrics)), spoil)

    return answers


def asked():
    compat.ensure_task_identity()
    content = RecordDict({"arrays": model(), "config": ConfigRecord({"server-round": 1})})
    return [Message(content, node, "train") for node in range(1, HOSTILE + 1)]


def exchanged(answers, timeout=20.0):
    link = Link(answers)
    replies = wait_for_all(http_grid(link), asked(), timeout)
    return {reply.metadata.src_node_id: reply for reply in replies}, link
