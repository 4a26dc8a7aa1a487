"""One message to the hostile node, and what a mode may use to answer it."""

import json
from pathlib import Path
from threading import Event

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto

from tests.deployment.hostile.wire import envelope, piece, saved, swap, with_data


class Task:
    """What is asked of the hostile node in one round of training or evaluation.

    Args:
        line: to the SuperLink.
        message: from the server; its configuration has "server-round", "mode" and "folder".
        last: the task before this one, or None.

    Attributes:
        good: the content of an honest reply, as a `Piece`.
        over: set when the next message comes.
        before: the message of the task before this one, and the reply that was sent to it first.
        uploaded: bytes.
    """

    def __init__(self, line, message, last):
        self.line, self.message, self.before = line, message, last and (last.message, last.sent)
        self.over, self.sent, self.uploaded = Event(), None, 0
        self.config = next(record for record in message.content.config_records.values() if "mode" in record)
        self.round, self.phase = int(self.config["server-round"]), message.metadata.message_type
        self.mode, self.folder = str(self.config["mode"]), Path(str(self.config["folder"]))
        self.good = piece(honest(message))

    def bad(self):
        """A well-formed reply far from the honest ones."""
        return swap(self.good, "Array", with_data(saved(np.full(1000, 1e6, np.float32))))

    def victim(self):
        """What an honest node says of itself in this round: node id and message id."""
        path = self.folder / f"{self.phase}-{self.round}-0"
        while not path.exists() and not self.over.wait(0.05):
            continue
        told = json.loads(path.read_text())
        return int(told["node"]), told["message"]

    def reply(self, *contents, error=None, **inner):
        """A reply around these pieces; `inner` are metadata as the server reads them, by Flower's names."""
        metadata = message_to_proto(Message(RecordDict(), reply_to=self.message)).metadata
        for name, value in inner.items():
            setattr(metadata, name, value)
        return envelope(metadata, *contents, error=error)

    def send(self, reply, tree=None, pause=0.0, message=None, **outer):
        """Announce a reply, to another `message` where one is given, and upload it, each object after a pause in seconds.

        It stops when the next message comes. `outer` are metadata as the SuperLink reads them, by Flower's names.
        """
        self.sent = self.sent or reply
        for request in self.line.announce(message or self.message, reply, tree, **outer):
            if self.over.wait(pause):
                return
            self.line.upload(request)
            self.uploaded += len(request.object_content)


def honest(message):
    """What an honest client answers, in the API of the message."""
    record = next(iter(message.content.array_records.values()))
    training, legacy = message.metadata.message_type == "train", "arrays" not in message.content
    model = ArrayRecord({name: Array(array.numpy() + np.float32(1)) for name, array in record.items()})
    if not legacy:
        return RecordDict({"metrics": MetricRecord({"num-examples": 1, "acc": 0.5}), **({"arrays": model} if training else {})})
    name = "fitres" if training else "evaluateres"
    records = {
        f"{name}.num_examples": MetricRecord({"num_examples": 1}),
        f"{name}.metrics": ConfigRecord({"acc": 0.5}),
        f"{name}.status": ConfigRecord({"code": 0, "message": ""}),
        **({f"{name}.parameters": model} if training else {f"{name}.loss": MetricRecord({"loss": 0.5})}),
    }
    return RecordDict(records)
