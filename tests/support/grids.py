"""Grids on which replies come late, or never."""

import threading
import time

from flwr.serverapp import Grid

from flwr_byzantine.flower.compat import set_metadata
from flwr_byzantine.flower.local import LocalGrid
from tests.support.federation import N, client_app

HOSTILE, VICTIM = 3, 5  # nodes: who is trouble, and in whose name it may speak


class SlowGrid(Grid):
    """A Flower Grid on threads: each node answers after its own delay (None: never), through push and pull."""

    def __init__(self, delays):
        self.local, self.delays, self.ready, self.pulls = LocalGrid(client_app(), len(delays)), delays, {}, 0

    set_run = create_message = None

    @property
    def run(self):
        raise NotImplementedError

    def get_node_ids(self):
        return self.local.get_node_ids()

    def push_messages(self, messages):
        ids = []
        for message in messages:
            key = f"m{len(self.ready)}-{message.metadata.dst_node_id}-{time.monotonic()}"
            set_metadata(message, message_id=key)
            ids.append(key)
            delay = self.delays[message.metadata.dst_node_id - 1] if message.metadata.message_type.startswith("train") else 0.0
            (reply,) = self.local.send_and_receive([message])
            if delay is not None:
                threading.Timer(delay, self.ready.__setitem__, (key, reply)).start()
        return ids

    def pull_messages(self, message_ids):
        self.pulls += 1
        found = [key for key in message_ids if key in self.ready]
        return [set_metadata(self.ready.pop(key), reply_to_message_id=key) for key in found]

    def send_and_receive(self, messages, *, timeout=None):
        raise AssertionError("strategies here collect by push and pull")


SlowGrid.__abstractmethods__ = frozenset()


def quiet(*nodes):
    """A Grid on which these nodes never answer."""
    return LocalGrid(client_app(), N, spoil=lambda reply: None if reply.metadata.src_node_id in nodes else reply)
