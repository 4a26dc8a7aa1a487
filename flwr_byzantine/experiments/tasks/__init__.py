"""Learning tasks: data and their partition over clients, models, training, and the Flower apps that run them.

May import every room below `experiments`, and `experiments.measures`. Importing the package loads neither torch nor flwr; its
modules `models`, `training`, `client` and `federation` do.
"""

from flwr_byzantine.experiments.tasks.task import Task

__all__ = ["Task"]
