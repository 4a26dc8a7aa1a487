"""The demo's learning task, from `flwr_byzantine.tasks`."""

from flwr_byzantine.tasks.data import Data, load
from flwr_byzantine.tasks.models import model
from flwr_byzantine.tasks.partitions import partitions
from flwr_byzantine.tasks.task import Task
from flwr_byzantine.tasks.training import evaluate, train

__all__ = ["Data", "Task", "evaluate", "load", "model", "partitions", "train"]
