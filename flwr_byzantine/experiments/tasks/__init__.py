"""Learning tasks for experiments: data, their partition over clients, models, training, and the Flower apps that run them.

Importing the package loads neither torch nor flwr; its modules `models`, `training`, `client` and `federation` do.
"""

from flwr_byzantine.experiments.tasks.task import Task

__all__ = ["Task"]
