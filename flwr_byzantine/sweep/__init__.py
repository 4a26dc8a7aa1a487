"""Experiments as data: a grid of federations from one file, run in parallel, each finished cell stored at once."""

from flwr_byzantine.sweep.config import Sweep, read
from flwr_byzantine.sweep.runner import Summary, run
from flwr_byzantine.sweep.store import Store

__all__ = ["Store", "Summary", "Sweep", "read", "run"]
