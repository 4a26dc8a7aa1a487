"""Small Flower projects: two numbers that clients pull towards the number of their partition."""

from pathlib import Path

from flwr_byzantine.experiments.apps import App, Project

PYPROJECT = """
[project]
name = "pull"
dependencies = ["numpy", "scikit-learn>=1.5", "not-installed-anywhere"]
[tool.flwr.app.components]
serverapp = "pull.server_app:app"
clientapp = "pull.client_app:app"
[tool.flwr.app.config]
rate = 0.5
model.start = 0.0
"""
CLIENT = """
import numpy as np
from flwr.app import ArrayRecord, MetricRecord, RecordDict, Message
from flwr.clientapp import ClientApp
from pull.task import quality

app = ClientApp()

@app.train()
def train(message, context):
    print("noise")
    (w,) = message.content["arrays"].to_numpy_ndarrays()
    w = w + context.run_config["rate"] * (1.0 + context.node_config["partition-id"] - w)
    return Message(RecordDict({"arrays": ArrayRecord([w]), "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

@app.evaluate()
def evaluate(message, context):
    (w,) = message.content["arrays"].to_numpy_ndarrays()
    partition = context.node_config["partition-id"]
    metrics = {"num-examples": 1 + partition, "accuracy": quality(w), "loss": float(partition)}
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)
"""
SERVER = """
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()

@app.main()
def main(grid, context):
    FedAvg().start(grid, ArrayRecord([np.full(2, context.run_config["model.start"])]), num_rounds=3, train_config=ConfigRecord({"told": 7}))
    raise AssertionError("no further than the first message")
"""
TASK = """
import numpy as np

def quality(w):
    return float(1.0 / (1.0 + np.abs(w - 2.0).max()))

def judged(arrays, run_config):
    return {"accuracy": quality(arrays.to_numpy_ndarrays()[0]), "loss": run_config["rate"]}
"""


def project(folder, **files):
    """The folder of the app with these files in place of its own: `client_app="..."`; "pyproject" is the TOML file."""
    package = Path(folder, "pull")
    package.mkdir(parents=True)
    texts = {"__init__": "", "client_app": CLIENT, "server_app": SERVER, "task": TASK, **files}
    Path(folder, "pyproject.toml").write_text(texts.pop("pyproject", PYPROJECT))
    for name, text in texts.items():
        (package / f"{name}.py").write_text(text)
    return Path(folder)


def app(folder, config=(), **about):
    """The app of a folder, with its own run config and these changes."""
    found = Project.read(Path(folder))
    return App(found, {**found.config, **dict(config)}, **about)
