"""Buffered rounds on a simulated clock that notes who was sent which model: clients, Grid, strategy and run."""

import random

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from flwr_byzantine import Buffered, TimedGrid

GOAL = np.array([1.0, -2.0, 3.0])
FAST = {"fraction_evaluate": 0.0, "min_available_nodes": 1, "min_train_nodes": 1}


def app(reply=lambda node, number, w: w + (GOAL - w) / 2 + node / 1000):
    """A ClientApp whose nodes answer what `reply` makes of the model; it may raise."""
    made = ClientApp()

    @made.train()
    def train(message, context):
        w = message.content["arrays"]["w"].numpy()
        arrays = ArrayRecord({"w": Array(np.asarray(reply(context.node_id, message.content["config"]["server-round"], w)))})
        return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    return made


class Recorded(TimedGrid):
    """Notes who was sent which model, and when: triples of time, node and round."""

    def send(self, messages):
        self.sent = [
            *getattr(self, "sent", []),
            *((self.time, m.metadata.dst_node_id, m.content["config"]["server-round"]) for m in messages),
        ]
        super().send(messages)


def grid(n=12, seconds=lambda node, count: float(node), client=None, **options):
    return Recorded(client or app(), n, seconds, **options)


def run(strategy, on, rounds=8, start=(0.0, 0.0, 0.0), dtype=np.float64):
    random.seed(7)  # whom the run draws
    np.random.seed(7)  # noqa: NPY002 - Flower's own and the run's
    result = strategy.start(on, ArrayRecord({"w": Array(np.array(start, dtype))}), rounds)
    return result.arrays["w"].numpy() if result.arrays else None


def buffered(rule="trimmed-mean", size=5, f=1, below=None, **options):
    return Buffered(rule, size, below or FedAvg(**FAST), f=f, **options)
