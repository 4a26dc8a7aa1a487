"""A federation with a known goal: every client steps half-way to it, with a little noise of its own."""

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flwr_byzantine.flower.local import LocalGrid

N, F = 11, 2
TARGET = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.full(4, -1.0, np.float32), "n": np.array(7, np.int64)}


def client_app(mods=None):
    """Each client steps half-way to the target, with a little noise of its own."""
    app = ClientApp(mods=mods)

    @app.train()
    def train(message, context):
        rng = np.random.default_rng([context.node_id, message.content["config"]["server-round"]])
        arrays = {}
        for name, array in message.content["arrays"].items():
            value = array.numpy()
            step = (TARGET[name] - value) / 2
            noisy = value + step + (0.01 * rng.normal(size=value.shape) if value.dtype.kind == "f" else 0)
            arrays[name] = Array(np.asarray(np.rint(noisy) if value.dtype.kind == "i" else noisy, dtype=value.dtype))
        metrics = MetricRecord({"num-examples": 10, "partition-id": context.node_id - 1, "loss": 1.0})
        return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message, context):
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 10, "accuracy": 0.5})}), reply_to=message)

    return app


def start():
    return ArrayRecord({name: Array(np.zeros_like(value)) for name, value in TARGET.items()})


def values(record):
    return np.concatenate([array.numpy().ravel() for array in record.values()])


GOAL = np.concatenate([value.ravel() for value in TARGET.values()])


def run(strategy, rounds, **grid):
    """What Flower says of so many rounds; `grid` are arguments of the LocalGrid."""
    return strategy.start(LocalGrid(client_app(), N, **grid), start(), rounds)


def federate(strategy, rounds=8, **grid):
    """The model after so many rounds."""
    return run(strategy, rounds, **grid).arrays


def check_model(record, tolerance=0.3):
    assert list(record) == list(TARGET)
    for name, value in TARGET.items():
        assert record[name].numpy().dtype == value.dtype
        assert record[name].numpy().shape == value.shape
    assert np.abs(values(record) - GOAL).max() < tolerance + 1  # the integer buffer moves in whole steps
    assert np.abs(values(record)[:-1] - GOAL[:-1]).max() < tolerance
