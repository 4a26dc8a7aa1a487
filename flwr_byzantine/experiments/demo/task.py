"""The demo's learning task, from `flwr_byzantine.experiments.tasks`."""

from flwr_byzantine.experiments.tasks.data import Data, load
from flwr_byzantine.experiments.tasks.models import model
from flwr_byzantine.experiments.tasks.partitions import partitions
from flwr_byzantine.experiments.tasks.task import Task
from flwr_byzantine.experiments.tasks.training import evaluate, train

__all__ = ["Data", "Task", "evaluate", "load", "model", "partitions", "train"]
