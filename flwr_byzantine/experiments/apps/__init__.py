"""Flower projects of others in experiments: their ClientApps run unchanged, under any attack and any defence.

May import every room below `experiments`, and of the experiments `measures` and `tasks`. Importing the package loads neither torch
nor flwr, nor any code of a project.
"""

from flwr_byzantine.experiments.apps.project import App, Project

__all__ = ["App", "Project"]
