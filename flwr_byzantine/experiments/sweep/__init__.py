"""Sweeps: a grid of federations from one TOML file, run in parallel and resumable, each finished cell stored at once.

May import `attacks`, `declare`, `rules`, `flower` and `monitor.show`, and of the experiments `tasks`, `results`, and `report` for the
choice of hyper-parameters.
"""

import flwr_byzantine.declare.quiet  # noqa: F401  before Flower, in each worker too
from flwr_byzantine.experiments.sweep.config import Sweep, read
from flwr_byzantine.experiments.sweep.runner import Summary, run
from flwr_byzantine.experiments.sweep.store import Store

__all__ = ["Store", "Summary", "Sweep", "read", "run"]
