"""The honest clients of both APIs: each sends one more than it was sent. Each says who it is, for the attacker to know."""

import json
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

METRICS = {"num-examples": 1, "acc": 0.5}


def tell(message, context, call_next):
    """Write down node and message, and when they were done; let the attacker answer first where it needs to."""
    config = next(record for record in message.content.config_records.values() if "mode" in record)
    path = Path(config["folder"]) / f"{message.metadata.message_type}-{config['server-round']}-{context.node_config['partition-id']}"
    note(path, {"node": str(context.node_id), "message": message.metadata.message_id})
    if config["mode"].startswith("forged"):
        time.sleep(1.0)
    reply = call_next(message, context)
    note(path.with_suffix(".done"), time.time())
    return reply


def note(path, told):
    """A file that is there at once or not at all."""
    path.with_suffix(".part").write_text(json.dumps(told))
    path.with_suffix(".part").rename(path)


message = ClientApp(mods=[tell])


@message.train()
def train(message, context):
    """One more, and the metrics that all have."""
    model = ArrayRecord({"w": Array(message.content["arrays"]["w"].numpy() + np.float32(1))})
    return Message(RecordDict({"arrays": model, "metrics": MetricRecord(METRICS)}), reply_to=message)


@message.evaluate()
def evaluate(message, context):
    """The metrics that all have."""
    return Message(RecordDict({"metrics": MetricRecord(METRICS)}), reply_to=message)


class Client(NumPyClient):
    """The same in the legacy API."""

    def fit(self, parameters, config):
        """One more."""
        return [parameters[0] + np.float32(1)], 1, {"acc": 0.5}

    def evaluate(self, parameters, config):
        """The metrics that all have."""
        return 0.5, 1, {"acc": 0.5}


legacy = ClientApp(lambda context: Client().to_client(), mods=[tell])
