"""A Grid that runs a ClientApp in this process: Flower's messages and strategies, no engine."""

import copy

from flwr.app import Context, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1  # what the engine would set; Message() asks for it


class LocalGrid:
    """Nodes 1..n of one ClientApp; `spoil` may change a reply (or return None: no reply)."""

    def __init__(self, client_app, n, spoil=None, order=None):
        self.client_app, self.n, self.spoil, self.order = client_app, n, spoil or (lambda reply: reply), order or (lambda replies: replies)
        self.contexts = {i: Context(1, i, {"partition-id": i - 1, "num-partitions": n}, RecordDict(), {}) for i in range(1, n + 1)}

    def get_node_ids(self):
        return list(self.contexts)

    def send_and_receive(self, messages, *, timeout=None):
        replies = [self._answer(message) for message in messages]
        return self.order([reply for reply in replies if reply is not None])

    def _answer(self, message):
        node = message.metadata.dst_node_id
        message = copy.copy(message)
        message.__dict__["_content"] = copy.deepcopy(message.content)
        try:
            reply = self.client_app(message, self.contexts[node])
        except Exception as error:
            reply = Message(Error(0, str(error)), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = node
        return self.spoil(reply)
