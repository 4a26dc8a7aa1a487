"""Experiments as data: a grid of federations from one file, run in parallel, each finished cell stored at once."""

from flwr_byzantine.experiments.sweep.config import Sweep, read
from flwr_byzantine.experiments.sweep.runner import Summary, run
from flwr_byzantine.experiments.sweep.store import Store

__all__ = ["Store", "Summary", "Sweep", "read", "run"]
